"""What every encoder must do alike. A new one is one more parameter of `encoder`."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from server.runners import load_model
from server.runners.base import Encoder, Placement

PLACEMENT = Placement(threads=1, context=32)
REAL = [pytest.param(name, marks=pytest.mark.real) for name in ("onnx", "llama")]


@pytest.fixture(scope="module", params=["fake", *REAL])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    if request.param == "fake":
        artifact = tmp_path_factory.mktemp("fake") / "encoder.json"
        artifact.write_text(json.dumps({"dimension": 8}))
    else:
        artifact = request.getfixturevalue({"onnx": "minilm_folder", "llama": "minilm_gguf"}[request.param])
    reported: list[float] = []
    loaded = load_model(request.param, artifact, PLACEMENT, reported.append)
    assert isinstance(loaded, Encoder)
    yield loaded
    loaded.close()


def test_it_keeps_the_context_that_is_asked_for(encoder: Encoder) -> None:
    assert encoder.info.context_length == 32
    longest = [[5] * 32]
    assert encoder.encode(longest).shape == (1, encoder.info.dimension)
    with pytest.raises(AssertionError):
        encoder.encode([[5] * 33])


def test_a_text_says_the_same_alone_and_in_company(encoder: Encoder) -> None:
    rows = [list(range(5, 5 + length)) for length in (1, 32, 7, 19, 1, 4)]
    together = encoder.encode(rows)
    assert together.dtype == np.float32
    assert together.shape == (6, encoder.info.dimension)
    alone = np.concatenate([encoder.encode([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-3)
    np.testing.assert_allclose(together[0], together[4], atol=1e-3)
    np.testing.assert_array_equal(encoder.encode(rows), together)


def test_more_rows_than_a_budget_keep_their_order(encoder: Encoder) -> None:
    rows = [[7 + number] * (1 + number % 3) for number in range(130)]
    found = encoder.encode(rows)
    for place in (0, 64, 129):
        np.testing.assert_allclose(found[place], encoder.encode([rows[place]])[0], atol=1e-3)


def test_no_rows_at_all_are_a_mistake(encoder: Encoder) -> None:
    with pytest.raises(AssertionError, match="no rows"):
        encoder.encode([])


def test_what_the_tokenizer_makes_can_be_computed(encoder: Encoder) -> None:
    tokens = encoder.tokenizer.encode("naïve 日本 🦊", special=True)
    assert 0 < len(tokens) <= 32
    assert max(tokens) < encoder.info.vocab_size
    assert np.isfinite(encoder.encode([tokens])).all()
