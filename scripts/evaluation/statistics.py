"""Intervals and paired tests. Every figure is a function of its examples, drawn again and again with replacement."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .found import Comparison, Figure

Scores = NDArray[np.float64]
Drawn = NDArray[np.int64]  # places of examples, [resamples, n]
BLOCK = 4_000_000  # numbers at once


class Statistic(Protocol):
    """What a figure is computed of."""

    def __len__(self) -> int: ...

    def of(self, drawn: Drawn) -> Scores:
        """The figure [resamples] of each row of `drawn`."""
        ...

    @property
    def binary(self) -> bool:
        """Whether it is a mean of zeros and ones."""
        ...


@dataclass(frozen=True, slots=True)
class Sums:
    """A function of sums over examples: `rows` [n, k] become [resamples, k], which `value` makes [resamples] of."""

    rows: Scores
    value: Callable[[Scores], Scores]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, drawn: Drawn) -> Scores:
        counts = np.stack([np.bincount(row, minlength=len(self.rows)) for row in drawn])
        return self.value(counts.astype(float) @ self.rows)

    @property
    def binary(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `scores` [n]."""

    scores: Scores

    def __len__(self) -> int:
        return len(self.scores)

    def of(self, drawn: Drawn) -> Scores:
        found: Scores = self.scores[drawn].mean(axis=1)
        return found

    @property
    def binary(self) -> bool:
        return bool(np.isin(self.scores, (0.0, 1.0)).all())


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of `scores` [n]."""

    scores: Scores
    at: float

    def __len__(self) -> int:
        return len(self.scores)

    def of(self, drawn: Drawn) -> Scores:
        found: Scores = np.quantile(self.scores[drawn], self.at, axis=1)
        return found

    @property
    def binary(self) -> bool:
        return False


def figure(statistic: Statistic, resamples: int, seed: int) -> Figure:
    """The value over all examples, and its interval; a single example has none."""
    value, n = observed(statistic), len(statistic)
    if n < 2:
        return Figure(value=value, n=n)
    low, high = _interval(bootstrapped(statistic, resamples, seed))
    return Figure(value=value, low=low, high=high, n=n)


def observed(statistic: Statistic) -> float:
    return float(statistic.of(np.arange(len(statistic))[None])[0])


def bootstrapped(statistic: Statistic, resamples: int, seed: int) -> Scores:
    """[resamples]; statistics of as many examples are drawn alike, so that they are paired."""
    return np.concatenate([statistic.of(drawn) for drawn in _draws(len(statistic), resamples, seed)])


def _draws(n: int, resamples: int, seed: int) -> Iterator[Drawn]:
    generator, block = np.random.default_rng(seed), max(1, BLOCK // n)
    for start in range(0, resamples, block):
        yield generator.integers(0, n, (min(block, resamples - start), n))


def compare(
    target: str, metric: str, first: Statistic, other: Statistic, resamples: int, seed: int
) -> Comparison | None:
    """Paired: both of the same examples, in the same order. None where they are not of as many."""
    if len(first) != len(other):
        return None
    before, after = (bootstrapped(one, resamples, seed) for one in (first, other))
    base, value = observed(first), observed(other)
    low, high = _interval(after - before)
    binary = isinstance(first, Mean) and isinstance(other, Mean) and first.binary and other.binary
    if isinstance(first, Mean) and isinstance(other, Mean) and binary:
        change = other.scores - first.scores
        p_value = mcnemar(int((change > 0).sum()), int((change < 0).sum()))
    else:  # moved to where no difference is
        extreme = int((np.abs(after - before - (value - base)) >= abs(value - base) * (1 - 1e-12)).sum())
        p_value = (extreme + 1) / (resamples + 1)
    ratio: dict[str, float] = {}
    if base > 0 and (before > 0).all():
        ratio["ratio"] = value / base
        ratio["ratio_low"], ratio["ratio_high"] = _interval(after / before)
    elif base > 0:
        ratio["ratio"] = value / base  # some draws hold none of what is compared with, so it has no interval
    return Comparison(
        target=target,
        metric=metric,
        difference=value - base,
        low=low,
        high=high,
        p_value=p_value,
        test="exact McNemar" if binary else "paired bootstrap",
        **ratio,
    )


def _interval(drawn: Scores) -> tuple[float, float]:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value of `won` and `lost` pairs; it is the sign test's as well."""
    pairs = won + lost
    if not pairs:
        return 1.0
    tail = sum(comb(pairs, count) for count in range(min(won, lost) + 1))
    return min(1.0, tail / (1 << pairs) * 2)
