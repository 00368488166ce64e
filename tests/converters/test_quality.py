"""The measure itself, on the fake engine and on numbers worked out another way."""

from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from converters import quality
from converters.blocks import Floats
from server.errors import InvalidValue
from server.models.quality import Quality
from server.runners import load_runner
from server.runners.base import Batch, Logits, ModelRunner, Placement

TOKENS = [number % 90 + 1 for number in range(300)]


class LastOnly:
    """The fake engine as one that has the logits of the last position of a segment only."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.info = replace(runner.info, logits="last")
        self.tokenizer = runner.tokenizer
        self.copy_prefix, self.truncate = runner.copy_prefix, runner.truncate
        self.load_adapter, self.close = runner.load_adapter, runner.close
        self.release_cache, self.set_spin = runner.release_cache, runner.set_spin

    def forward(self, batch: Batch) -> Logits:
        assert all(list(segment.wanted) == [len(segment.tokens) - 1] for segment in batch)
        return self._runner.forward(batch)


class Table:
    """Random logits for any tokens, the same each time; `shift` is added to all logits of one token."""

    name = "table"

    def __init__(self, vocabulary: int, shift: float = 0.0, seed: int = 3) -> None:
        self._vocabulary, self._shift, self._seed = vocabulary, shift, seed

    def rows(self, tokens: list[int], step: int) -> Iterator[Floats]:
        source = np.random.default_rng(self._seed)
        for start in range(0, len(tokens), step):
            count = len(tokens[start : start + step])
            rows = source.standard_normal((count, self._vocabulary)).astype(np.float32) * 3
            rows[:, 0] += self._shift
            yield rows


def make_fake() -> ModelRunner:
    return load_runner("fake", None, Placement(threads=1, slots=2, context=512, cache_tokens=1024), lambda _: None)


@pytest.fixture
def fake() -> Iterator[ModelRunner]:
    runner = make_fake()
    yield runner
    runner.close()


def test_an_artifact_is_as_good_as_itself(fake: ModelRunner) -> None:
    found = quality.compare(fake, make_fake(), TOKENS, "itself")
    assert found == Quality(kl_mean=0, kl_p99=0, top1=1, positions=300, reference="itself")


def test_an_engine_that_has_last_rows_only_is_asked_token_by_token(fake: ModelRunner) -> None:
    table = Table(fake.info.vocab_size)
    last: ModelRunner = LastOnly(fake)
    found, expected = quality.measure(last, table, TOKENS), quality.measure(fake, table, TOKENS)
    assert found.positions == expected.positions
    assert found.kl_mean == pytest.approx(expected.kl_mean)


def test_every_position_counts_once(fake: ModelRunner) -> None:
    found = quality.measure(fake, Table(fake.info.vocab_size), TOKENS)
    assert found.positions == 300
    assert found.kl_mean > 0.1
    assert found.kl_p99 > found.kl_mean
    assert found.reference == "table"
    assert quality.measure(fake, Table(fake.info.vocab_size), TOKENS) == found, "the slot is empty again"


def test_divergence_is_the_textbook_s() -> None:
    truth, found = next(Table(50).rows([1] * 40, 40)), next(Table(50, seed=4).rows([1] * 40, 40))
    p, q = (np.exp(rows.astype(np.longdouble)) for rows in (truth, found))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    expected = (p * np.log(p / q)).sum(axis=1).astype(np.float64)
    np.testing.assert_allclose(quality.divergence(truth, found), expected, rtol=1e-9)


def test_large_logits_do_not_overflow() -> None:
    truth = np.array([[1e4, 0, -1e4], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(quality.divergence(truth, truth + 5e4), [0, 0], atol=1e-9)


def test_two_vocabularies_are_not_compared(fake: ModelRunner) -> None:
    with pytest.raises(InvalidValue, match="Vocabularies of 7 and"):
        quality.measure(fake, Table(7), TOKENS)


def test_logits_that_are_no_numbers_are_no_quality(fake: ModelRunner) -> None:
    with pytest.raises(InvalidValue, match="not finite"):
        quality.measure(fake, Table(fake.info.vocab_size, float("nan")), TOKENS)


@pytest.mark.parametrize("tokens", [[], [1] * 513], ids=["none", "too many"])
def test_what_cannot_be_measured_is_refused(fake: ModelRunner, tokens: list[int]) -> None:
    with pytest.raises(InvalidValue):
        quality.measure(fake, Table(fake.info.vocab_size), tokens)


def test_the_text_is_whole() -> None:
    text = quality.prose()
    assert text.startswith("Alice was beginning")
    assert 2_500 < len(text) < 3_500
    assert text.isascii()
