"""How much an artifact says otherwise than a reference: KL divergence and top-1 agreement over a text.

Rows are compared chunk by chunk as both sides compute them, in float64, so that a vocabulary of 150,000 and any number
of positions take the memory of one chunk.
"""

from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Protocol

import numpy as np
import numpy.typing as npt

from server.errors import InvalidValue
from server.models.quality import Quality
from server.runners.base import FloatRows, ModelRunner, Segment

STEP = 128  # positions compared at a time
WIDE = 16  # rows widened to float64 at a time
Doubles = npt.NDArray[np.float64]


class Reference(Protocol):
    """Where rows to compare with come from: a GGUF file (`reference.GgufReference`), or another runner."""

    name: str  # in words, for `Quality.reference`

    def rows(self, tokens: list[int], step: int) -> Iterator[FloatRows]:
        """Logits of all positions of a sequence in order, [step, vocabulary] at a time; valid until the next ones."""
        ...


class RunnerReference:
    """A loaded model as a source of rows. Slot 0 has to be empty, and is again at the end."""

    def __init__(self, runner: ModelRunner, name: str) -> None:
        self.name = name
        self._runner = runner

    def rows(self, tokens: list[int], step: int) -> Iterator[FloatRows]:
        info = self._runner.info
        if len(tokens) > info.context_length:
            raise InvalidValue(f"{len(tokens)} tokens do not fit in a context of {info.context_length}.")
        width = info.chunk_tokens if info.logits == "any" else 1  # an engine that has the last row only gets one token
        try:
            for start in range(0, len(tokens), step):
                part = tokens[start : start + step]
                rows = np.empty((len(part), info.vocab_size), np.float32)
                for at in range(0, len(part), width):
                    chunk = part[at : at + width]
                    segment = Segment(0, chunk, start + at, range(len(chunk)), len(tokens))
                    rows[at : at + width] = self._runner.forward([segment]).host(range(len(chunk)))
                yield rows
        finally:
            self._runner.truncate(0, 0)


def measure(runner: ModelRunner, reference: Reference, tokens: list[int]) -> Quality:
    """How close a runner is to a reference. Raises InvalidValue where they cannot be compared."""
    return compared(reference, RunnerReference(runner, ""), [tokens])


def compare(one: ModelRunner, other: ModelRunner, tokens: list[int], name: str = "another artifact") -> Quality:
    """How close `other` is to `one`, which is called `name`."""
    return compared(RunnerReference(one, name), RunnerReference(other, ""), [tokens])


def prose() -> str:
    """A public-domain text to measure on: about 3,000 characters, more than 500 tokens. See data/README.md."""
    return resources.files(__package__).joinpath("data/prose.txt").read_text(encoding="utf-8")


def compared(reference: Reference, artifact: Reference, sequences: Iterable[list[int]]) -> Quality:
    """How close `artifact` is to `reference` over all positions of some sequences. Raises InvalidValue."""
    divergences: list[Doubles] = []
    agreed = 0
    for tokens in sequences:
        for truth, found in zip(reference.rows(tokens, STEP), artifact.rows(tokens, STEP), strict=True):
            if truth.shape != found.shape:
                raise InvalidValue(f"Vocabularies of {truth.shape[1]} and {found.shape[1]} tokens cannot be compared.")
            starts = range(0, len(truth), WIDE)
            divergences += [divergence(truth[at : at + WIDE], found[at : at + WIDE]) for at in starts]
            agreed += int((truth.argmax(axis=1) == found.argmax(axis=1)).sum())
    if not divergences:
        raise InvalidValue("No tokens to measure on.")
    every = np.concatenate(divergences)
    if not np.isfinite(every).all():
        raise InvalidValue("One side computed logits that are not finite.")
    return Quality(
        kl_mean=float(every.mean()),
        kl_p99=float(np.percentile(every, 99)),
        top1=agreed / len(every),
        positions=len(every),
        reference=reference.name,
    )


def divergence(truth: FloatRows, found: FloatRows) -> Doubles:
    """KL(truth || found) of each row of logits, in nats: the sum of p * (log p - log q)."""
    p, q = log_softmax(truth), log_softmax(found)
    found_each: Doubles = (np.exp(p) * (p - q)).sum(axis=1)
    return np.maximum(found_each, 0.0)  # rounding alone makes it negative


def log_softmax(rows: FloatRows) -> Doubles:
    """Natural logarithms of the probabilities, of each row."""
    shifted = rows.astype(np.float64) - rows.max(axis=1, keepdims=True)
    normalised: Doubles = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised
