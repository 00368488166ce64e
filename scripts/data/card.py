"""What a data folder is made of, as card.json. It holds no date: the same input makes the same card."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

BINS = 24


class Source(BaseModel):
    """A file. `split` is empty where its examples were divided."""

    file: str
    split: str
    sha256: str
    bytes: int
    lines: int
    rejected: int


class Lengths(BaseModel):
    """Of all examples. `counts[i]` of them are from edges[i] to below edges[i + 1]."""

    unit: str
    shortest: int
    median: float
    p95: float
    longest: int
    mean: float
    edges: list[float]
    counts: list[int]


class Duplicates(BaseModel):
    """Left out: exact and near. Kept: other answers to one prompt, and what is double within a given split."""

    exact: int
    near: int
    threshold: float | None
    same_prompt: int
    in_given: int


class Leakage(BaseModel):
    """Between splits. `dropped`: what a given split holds; `moved`: to train, and why."""

    near_checked: bool
    dropped: dict[str, int]
    moved: dict[str, int]


class Personal(BaseModel):
    """Personal data: findings by kind, and the examples that have any."""

    found: dict[str, int]
    examples: int
    redacted: bool


class Paraphrases(BaseModel):
    """Asked for, kept, and not kept by reason."""

    url: str
    model: str
    asked: int
    kept: int
    failed: dict[str, int]


class Card(BaseModel):
    """`examples` and `digests` (SHA-256 of the file) are by split, `labels` by label and split."""

    examples: dict[str, int]
    digests: dict[str, str]
    sources: list[Source]
    lines: int
    rejected: dict[str, int]
    duplicates: Duplicates
    leakage: Leakage
    lengths: dict[str, Lengths]
    labels: dict[str, dict[str, int]]
    personal: Personal
    paraphrases: Paraphrases | None
    tokenizer: dict[str, str] | None
    seed: int
    parameters: dict[str, object]
    versions: dict[str, str]


def lengths(values: Sequence[int], unit: str) -> Lengths:
    """Of one value or more. Columns are whole numbers wide, so that none is empty for its width alone."""
    given = np.asarray(values)
    shortest, longest = int(given.min()), int(given.max())
    width = -(-(longest - shortest + 1) // BINS)
    edges = np.arange(shortest, longest + width + 1, width)
    counts, _ = np.histogram(given, edges)
    return Lengths(
        unit=unit,
        shortest=shortest,
        median=float(np.median(given)),
        p95=float(np.percentile(given, 95)),
        longest=longest,
        mean=round(float(given.mean()), 2),
        edges=edges.tolist(),
        counts=counts.tolist(),
    )
