"""The ONNX encoder against sentence-transformers, and what its folder may say.

reference/minilm.json says how its vectors were made.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import EngineFailed, LoadFailed
from server.models.encoder_folder import Pooling, read
from server.runners import load_model, load_runner
from server.runners.base import Encoder, FloatRows, Placement
from server.runners.onnx.pooling import normalised, pooled
from server.worker.encoding import cut

PLACEMENT = Placement(threads=1)
LEAST_COSINE = 0.9999


class Entry(msgspec.Struct):
    text: str
    tokens: int
    vector: list[float]


class Reference(msgspec.Struct):
    about: str
    entries: list[Entry]


REFERENCE = msgspec.json.decode((Path(__file__).parent / "reference" / "minilm.json").read_bytes(), type=Reference)
EXPECTED: FloatRows = np.array([entry.vector for entry in REFERENCE.entries], np.float32)


@pytest.fixture(scope="module")
def encoder(minilm_folder: Path) -> Iterator[Encoder]:
    loaded = load_model("onnx", minilm_folder, PLACEMENT, lambda _: None)
    assert isinstance(loaded, Encoder)
    yield loaded
    loaded.close()


def cosines(one: FloatRows, other: FloatRows) -> FloatRows:
    found: FloatRows = np.sum(normalised(one) * normalised(other), axis=1, dtype=np.float32)
    return found


def tokens_of(encoder: Encoder) -> list[list[int]]:
    return [
        cut(encoder.tokenizer.encode(entry.text, special=True), 256, encoder.tokenizer) for entry in REFERENCE.entries
    ]


@pytest.mark.real
def test_the_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    rows = tokens_of(encoder)
    assert [len(row) for row in rows] == [entry.tokens for entry in REFERENCE.entries]
    alone = np.concatenate([encoder.encode([row]) for row in rows])
    together = encoder.encode(rows)
    assert cosines(alone, EXPECTED).min() > LEAST_COSINE
    assert cosines(together, EXPECTED).min() > LEAST_COSINE
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
    assert encoder.info.dimension == EXPECTED.shape[1] == 384


@pytest.mark.real
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.integers(0, len(REFERENCE.entries) - 1), min_size=1, max_size=8))
def test_company_and_order_change_nothing(encoder: Encoder, places: list[int]) -> None:
    rows = tokens_of(encoder)
    found = encoder.encode([rows[place] for place in places])
    assert cosines(found, EXPECTED[places]).min() > LEAST_COSINE


@pytest.mark.real
def test_a_context_that_is_asked_for_is_kept(minilm_folder: Path) -> None:
    loaded = load_model("onnx", minilm_folder, Placement(threads=1, context=32), lambda _: None)
    assert loaded.info.context_length == 32
    loaded.close()


@pytest.mark.real
def test_a_token_that_the_graph_has_not_is_an_error_of_the_engine(encoder: Encoder) -> None:
    with pytest.raises(EngineFailed, match="could not compute"):
        encoder.encode([[10_000_000]])


@pytest.mark.real
@pytest.mark.parametrize("engine", ["onnx", "genai"])
def test_it_is_not_taken_for_a_model_that_writes(minilm_folder: Path, engine: str) -> None:
    with pytest.raises(LoadFailed):
        load_runner(engine, minilm_folder, PLACEMENT, lambda _: None)


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("config.json", {"hidden_size": 100}, "384 numbers"),
        ("config.json", {"vocab_size": -1}, r"config\.json cannot be read"),
        ("modules.json", [{"type": "x.Transformer"}, {"type": "x.Dense", "path": "2_Dense"}], "Transformer, Dense"),
        ("modules.json", [{"type": "x.Transformer", "path": "../.."}], "no name of a folder"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by mean, max"),
        ("sentence_bert_config.json", {"max_seq_length": "many"}, r"sentence_bert_config\.json cannot be read"),
    ],
)
def test_a_folder_that_says_otherwise_is_refused(
    minilm_folder: Path, tmp_path: Path, file: str, change: Any, reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder, folder)
    content = json.loads((folder / file).read_text())
    (folder / file).unlink()
    (folder / file).write_text(json.dumps(content | change if isinstance(change, dict) else change))
    with pytest.raises(LoadFailed, match=reason):
        load_model("onnx", folder, PLACEMENT, lambda _: None)


STATES = np.array([[[1, -1], [3, 5], [99, 99]], [[2, 0], [4, 4], [6, 8]]], np.float32)
POOLED: dict[Pooling, list[list[float]]] = {
    "mean": [[2, 2], [4, 4]],
    "cls": [[1, -1], [2, 0]],
    "max": [[3, 5], [6, 8]],
    "lasttoken": [[3, 5], [6, 8]],
    "mean_sqrt_len_tokens": [[4 / 2**0.5, 4 / 2**0.5], [12 / 3**0.5, 12 / 3**0.5]],
    "weightedmean": [[7 / 3, 3], [28 / 6, 32 / 6]],
}


@pytest.mark.parametrize("how", POOLED)
def test_pooling_sees_no_padding(how: Pooling) -> None:
    np.testing.assert_allclose(pooled(STATES, [2, 3], how), POOLED[how], rtol=1e-6)


def test_a_vector_of_zeros_stays_one() -> None:
    np.testing.assert_array_equal(normalised(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("pooling", "found"), [({"pooling_mode": "cls"}, "cls"), ({"pooling_mode_lasttoken": True}, "lasttoken")]
)
def test_both_ways_to_write_the_pooling(tmp_path: Path, pooling: dict[str, object], found: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (tmp_path / "config.json").write_text('{"vocab_size": 9, "hidden_size": 4, "max_position_embeddings": 16}')
    (tmp_path / "modules.json").write_text('[{"type": "a.Transformer"}, {"type": "a.Pooling", "path": "1_Pooling"}]')
    folder = read(tmp_path)
    assert (folder.pooling, folder.normalise, folder.context_length) == (found, False, 16)
