"""Intervals and paired tests."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from .order import Comparison, Figure

Scores = NDArray[np.float64]


def figure(scores: Scores, resamples: int, seed: int) -> Figure:
    """The mean of scores [n]."""
    low, high = np.quantile(means(scores, resamples, seed), (0.025, 0.975))
    return Figure(value=float(scores.mean()), low=float(low), high=float(high), n=len(scores))


def means(scores: Scores, resamples: int, seed: int) -> Scores:
    """Bootstrapped means [resamples], drawn in blocks of at most some million numbers."""
    generator, size = np.random.default_rng(seed), len(scores)
    block = max(1, 4_000_000 // size)
    drawn = [
        scores[generator.integers(0, size, (min(block, resamples - start), size))].mean(axis=1)
        for start in range(0, resamples, block)
    ]
    return np.concatenate(drawn)


def compare(target: str, metric: str, first: Scores, other: Scores, resamples: int, seed: int) -> Comparison:
    """Paired: both [n], in the same order of examples."""
    differences = other - first
    drawn = means(differences, resamples, seed)
    low, high = np.quantile(drawn, (0.025, 0.975))
    binary = bool(np.isin(np.concatenate((first, other)), (0.0, 1.0)).all())
    if binary:
        p_value = mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    else:
        mean = differences.mean()
        extreme = int((np.abs(drawn - mean) >= abs(mean)).sum())  # moved to where no difference is
        p_value = (extreme + 1) / (resamples + 1)
    return Comparison(
        target=target,
        metric=metric,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        p_value=p_value,
        test="exact McNemar" if binary else "paired bootstrap",
    )


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value of `won` and `lost` pairs; it is the sign test's as well."""
    pairs = won + lost
    if not pairs:
        return 1.0
    tail = sum(comb(pairs, count) for count in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / 2**pairs)
