import numpy as np
import pytest

from scripts.evaluation.metrics import exact_json, exact_spaces, json_valid
from scripts.evaluation.statistics import compare, figure, mcnemar


def test_mcnemar_is_exact() -> None:
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)  # 1 + 10 of 2^10 outcomes, twice
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


def test_interval_is_near_the_normal_one_and_repeats() -> None:
    scores = np.array([1.0] * 300 + [0.0] * 100)
    found = figure(scores, 4000, 1)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert found.value == 0.75
    assert found.n == 400
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)
    assert found == figure(scores, 4000, 1)


def test_comparison_is_paired() -> None:
    first = np.random.default_rng(0).normal(10, 5, 200)
    found = compare("b", "latency", first, first + 0.1, 1000, 0)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert found.test == "paired bootstrap"
    noise = np.random.default_rng(1).permutation(np.repeat([-1.0, 1.0], 100))
    assert compare("b", "latency", first, first + noise, 1000, 0).p_value > 0.5
    ones = compare("b", "exact", np.zeros(10), np.array([1.0] * 9 + [0.0]), 1000, 0)
    assert ones.p_value == pytest.approx(2 / 512)


@pytest.mark.parametrize(
    ("answer", "wanted", "spaces", "equal", "valid"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', 0, 1, 1),
        ('{"a":\n1}', '{"a": 1}', 0, 1, 1),
        ("true", "1", 0, 0, 1),
        ("NaN", "NaN", 1, 0, 0),
        (" a  b ", "a b", 1, 0, 0),
        ("[" * 100_000, "[]", 0, 0, 0),
    ],
)
def test_matches(answer: str, wanted: str, spaces: float, equal: float, valid: float) -> None:
    assert exact_spaces(answer, wanted) == spaces
    assert exact_json(answer, wanted) == equal
    assert json_valid(answer, wanted) == valid
