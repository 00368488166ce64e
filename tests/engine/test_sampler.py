"""Draws follow the exact distribution, and penalties the formulas."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.sampler import Sampler
from server.errors import EngineFailed
from server.types import SamplingParams

VOCABULARY = 50
ROW = np.random.default_rng(3).normal(0, 2, VOCABULARY).astype(np.float32)
EOS = frozenset({7})
CRITICAL = 95.0  # chi-square, 49 degrees of freedom: beyond it once in 10,000


def exact(params: SamplingParams) -> npt.NDArray[np.float64]:
    """The distribution in float64, by the book."""
    logits = ROW.astype(np.float64) / params.temperature
    if params.top_k:
        logits[logits < np.sort(logits)[-params.top_k]] = -np.inf
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    weights[order[before >= params.top_p]] = 0
    weights[weights < params.min_p * weights.max()] = 0
    whole: npt.NDArray[np.float64] = weights / weights.sum()
    return whole


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=1),
        SamplingParams(seed=2, temperature=0.5),
        SamplingParams(seed=3, top_k=7),
        SamplingParams(seed=4, top_p=0.8),
        SamplingParams(seed=5, min_p=0.1),
        SamplingParams(seed=6, temperature=1.5, top_k=30, top_p=0.9, min_p=0.02),
    ],
    ids=["plain", "cool", "top_k", "top_p", "min_p", "all"],
)
def test_draws_follow_the_distribution(params: SamplingParams) -> None:
    sampler, draws = Sampler(params, [], EOS), 20_000
    counts = np.bincount([sampler.draw(ROW) for _ in range(draws)], minlength=VOCABULARY)
    expected = exact(params) * draws
    assert not counts[expected == 0].any()
    rare = expected < 5  # too few for the chi-square distribution: counted together
    found, wanted = (np.append(row[~rare], row[rare].sum()) for row in (counts, expected))
    assert ((found - wanted)[wanted > 0] ** 2 / wanted[wanted > 0]).sum() < CRITICAL


def test_a_seed_repeats_and_seeds_differ() -> None:
    def draws(seed: int) -> list[int]:
        sampler = Sampler(SamplingParams(seed=seed), [], EOS)
        return [sampler.draw(ROW) for _ in range(30)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_penalties_follow_their_formulas() -> None:
    params = SamplingParams(
        temperature=0, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.25, logit_bias={4: 3.0}
    )
    sampler = Sampler(params, [1, 2], EOS)
    for token in (2, 3, 3):
        sampler.accept(token)
    expected = ROW.copy()
    for token in (1, 2, 3):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    expected[2] -= 0.5 + 0.25
    expected[3] -= 0.5 + 0.25 * 2
    expected[4] += 3.0
    np.testing.assert_allclose(sampler._adjusted(ROW), expected, rtol=1e-6)
    assert sampler.draw(ROW) == int(expected.argmax())


def test_greedy_needs_no_row_and_min_tokens_bans_the_end() -> None:
    assert Sampler(SamplingParams(temperature=0), [], EOS).greedy
    assert not Sampler(SamplingParams(temperature=0, presence_penalty=1), [], EOS).greedy
    row = np.zeros(VOCABULARY, np.float32)
    row[7] = 50
    sampler = Sampler(SamplingParams(temperature=0, min_tokens=1), [], EOS)
    assert sampler.draw(row) != 7
    sampler.accept(0)
    assert sampler.draw(row) == 7


@given(st.floats(1e-6, 2), st.floats(1e-6, 1), st.integers(0, 60), st.floats(0, 1))
def test_the_best_token_is_always_possible(temperature: float, top_p: float, top_k: int, min_p: float) -> None:
    params = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=0)
    ids, weights = Sampler(params, [], EOS)._truncated(ROW)
    kept = np.arange(VOCABULARY) if ids is None else ids
    assert ROW.argmax() in kept
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("temperature", [1e-4, 1e-30, 1e-50, 5e-324])
def test_the_coldest_temperatures_take_the_best_token(temperature: float) -> None:
    for more in ({}, {"min_p": 0.05}, {"top_p": 0.5}, {"top_k": 3}):
        sampler = Sampler(SamplingParams(temperature=temperature, seed=1, **more), [1, 2], EOS)
        assert sampler.draw(ROW) == ROW.argmax()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_no_number_is_an_error_of_its_own(value: float) -> None:
    row = ROW.copy()
    row[3] = value
    with pytest.raises(EngineFailed, match="not finite"):
        Sampler(SamplingParams(seed=1), [], EOS).draw(row)
