"""Embeddings of a GGUF file on llama.cpp, against sentence-transformers."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from server.errors import LoadFailed
from server.models.store import Store
from server.runners import load_model, load_runner
from server.runners.base import Encoder, Placement
from server.worker.encoding import cut

from ..bert_gguf import write_bert
from .test_encoder import EXPECTED, REFERENCE, cosines

pytestmark = pytest.mark.real

PLACEMENT = Placement(threads=1, context=256)
LEAST_COSINE = 0.999


@pytest.fixture(scope="module")
def encoder(minilm_gguf: Path) -> Iterator[Encoder]:
    loaded = load_model("llama", minilm_gguf, PLACEMENT, lambda _: None)
    assert isinstance(loaded, Encoder)
    yield loaded
    loaded.close()


def test_the_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    tokenizer = encoder.tokenizer
    rows = [cut(tokenizer.encode(entry.text, special=True), 256, tokenizer) for entry in REFERENCE.entries]
    assert [len(row) for row in rows] == [entry.tokens for entry in REFERENCE.entries]
    alone = np.concatenate([encoder.encode([row]) for row in rows])
    together = encoder.encode(rows)
    assert cosines(alone, EXPECTED).min() > LEAST_COSINE
    assert cosines(together, alone).min() > LEAST_COSINE
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_more_rows_than_a_call_takes_keep_their_order(encoder: Encoder) -> None:
    rows = [[101, 1000 + number, 102] for number in range(150)]
    found = encoder.encode(rows)
    np.testing.assert_allclose(found[[0, 64, 149]], np.concatenate([encoder.encode([rows[n]]) for n in (0, 64, 149)]),
                               atol=1e-3)  # fmt: skip


def test_its_sizes_are_the_files(encoder: Encoder) -> None:
    assert (encoder.info.dimension, encoder.info.context_length, encoder.info.vocab_size) == (384, 256, 30522)


def test_it_writes_no_text(minilm_gguf: Path) -> None:
    with pytest.raises(LoadFailed, match="writes no text"):
        load_runner("llama", minilm_gguf, PLACEMENT, lambda _: None)


@pytest.mark.parametrize(
    ("pooling", "reason"), [(None, "does not say how it pools"), (gguf.PoolingType.RANK, "cross-encoder")]
)
def test_what_makes_no_embeddings_is_refused(
    minilm_home: Path, tmp_path: Path, pooling: gguf.PoolingType | None, reason: str
) -> None:
    manifest = next(found for found in Store(minilm_home).installed() if found.variant == "safetensors")
    path = write_bert(Store(minilm_home).path(manifest), tmp_path / "odd.gguf", pooling)
    with pytest.raises(LoadFailed, match=reason):
        load_model("llama", path, PLACEMENT, lambda _: None)
