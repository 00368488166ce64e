"""Texts that are nearly the same: MinHash (Broder 1997) of their words and pairs of words, found by LSH."""

import re
import zlib
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 128  # the error of an estimate is sqrt(J (1 - J) / 128): 0.03 at J = 0.85
RECALL = (0.3, 0.7)  # how much a needless candidate counts, and a missed one, when LSH chooses its bands
CROWD = 64  # neighbours of a text that is no longer added: they stand for it
_TOKENS = re.compile(r"\w+|[^\w\s]")
_IDEOGRAPHS = re.compile("([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")  # scripts that put no space between words


def shingles(text: str) -> set[str]:
    """Words and marks, and pairs of neighbours, in lower case."""
    tokens = _TOKENS.findall(_IDEOGRAPHS.sub(r" \1 ", text.casefold()))
    return {*tokens, *map(" ".join, pairwise(tokens))} or {text}


def _short(band: bytes) -> bytes:
    """What a band is known by in memory."""
    return blake2b(band, digest_size=8).digest()


def similarity(one: str, other: str) -> float:
    """Jaccard: what both have, as a share of what either has."""
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


class Neighbours:
    """An index of texts by number."""

    def __init__(self, threshold: float, seed: int) -> None:
        from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

        self._empty = MinHash(num_perm=PERMUTATIONS, seed=seed, hashfunc=zlib.crc32)
        self._index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=RECALL, hashfunc=_short)
        self._threshold = threshold
        self._signatures: NDArray[np.uint32] = np.empty((1024, PERMUTATIONS), np.uint32)
        self._numbers: list[int] = []  # by row

    def signature(self, text: str) -> Any:
        """A MinHash."""
        made = self._empty.copy()
        made.update_batch(shingle.encode() for shingle in shingles(text))
        return made

    def near(self, signature: Any) -> list[int]:
        """The texts that are at least as similar as the threshold, by estimate; the most similar first."""
        found = self._index.query(signature)
        if not found:
            return []
        rows = np.fromiter(found, np.intp, len(found))
        estimates = (self._signatures[rows] == signature.hashvalues.astype(np.uint32)).mean(axis=1)
        near = estimates >= self._threshold
        ranked = sorted(zip(-estimates[near], rows[near].tolist(), strict=True))
        return [self._numbers[row] for _, row in ranked]

    def add(self, number: int, signature: Any) -> None:
        row = len(self._numbers)
        if row == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[row] = signature.hashvalues
        self._numbers.append(number)
        self._index.insert(row, signature, check_duplication=False)
