import numpy as np
import pytest

from scripts.evaluation.statistics import Mean, Quantile, Sums, compare, figure, mcnemar


def test_mcnemar_is_exact() -> None:
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)  # 1 + 10 of 2^10 outcomes, twice
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


def test_interval_is_near_the_normal_one_and_repeats() -> None:
    scores = Mean(np.array([1.0] * 300 + [0.0] * 100))
    found = figure(scores, 4000, 1)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert found.value == 0.75
    assert found.n == 400
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)
    assert found == figure(scores, 4000, 1)
    assert figure(Mean(np.ones(1)), 100, 0).low is None


def test_a_function_of_sums_is_drawn_as_a_mean_is() -> None:
    scores = np.random.default_rng(0).normal(10, 5, 50)
    rows = np.stack((scores, np.ones(50)), axis=1)
    ours = figure(Sums(rows, lambda sums: sums[:, 0] / sums[:, 1]), 500, 3)
    mean = figure(Mean(scores), 500, 3)
    assert ours.low == pytest.approx(mean.low)
    assert ours.high == pytest.approx(mean.high)
    assert figure(Quantile(scores, 0.5), 500, 3).value == np.median(scores)


def test_comparison_is_paired() -> None:
    first = np.random.default_rng(0).normal(10, 1, 200)
    found = compare("b", "latency", Mean(first), Mean(first * 0.5), 1000, 0)
    assert found is not None
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_low == pytest.approx(0.5)
    assert found.ratio_high == pytest.approx(0.5)
    assert found.test == "paired bootstrap"
    assert found.p_value < 0.01
    noise = np.random.default_rng(1).permutation(np.repeat([-1.0, 1.0], 100))
    random = compare("b", "latency", Mean(first), Mean(first + noise), 1000, 0)
    assert random is not None
    assert random.p_value > 0.5
    ones = compare("b", "exact", Mean(np.zeros(10)), Mean(np.array([1.0] * 9 + [0.0])), 1000, 0)
    assert ones is not None
    assert ones.p_value == pytest.approx(2 / 512)
    assert ones.ratio is None
    assert compare("b", "latency", Mean(first), Mean(first[1:]), 100, 0) is None
