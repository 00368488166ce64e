"""Log-probabilities of tokens: of the model's own distribution, before temperature, penalties and grammars."""

from collections import deque

import numpy as np
import numpy.typing as npt

from ..runners.base import FloatRows, Tokenizer
from ..types import Likely, TokenLogprob

BLOCK = 64


def score(row: FloatRows, token: int, count: int, tokenizer: Tokenizer) -> TokenLogprob:
    """The log-probability of `token` in a row of logits [vocab_size], and the `count` likeliest tokens, best first.

    log p = l - max - log sum exp(l - max); the sum is kept in float64.
    """
    top = float(row.max())
    normalizer = top + float(np.log(np.exp(row - np.float32(top)).sum(dtype=np.float64)))
    best: list[Likely] = []
    if count:
        ids = _best(row, count)
        best = [Likely(int(i), tokenizer.token_bytes(int(i)), float(row[i]) - normalizer) for i in ids]
    return TokenLogprob(token, tokenizer.token_bytes(token), float(row[token]) - normalizer, tuple(best))


def _best(row: FloatRows, count: int) -> npt.NDArray[np.intp]:
    """The places of the `count` highest values, best first.

    The row is cut into blocks: at least `count` values reach the block maximum of that rank, so all that are sought do.
    Sorting or partitioning the whole row takes twenty times as long.
    """
    columns = len(row) // BLOCK
    ids = np.arange(len(row))
    if columns >= count:
        maxima = row[: columns * BLOCK].reshape(BLOCK, columns).max(axis=0)
        ids = np.flatnonzero(row >= np.partition(maxima, columns - count)[columns - count])
    return ids[np.argsort(-row[ids], kind="stable")][:count]


class Scores:
    """Scores of generated tokens, given out with the text that they brought: text may be held back, or cut off."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()  # with the bytes of text before the token
        self._taken = 0  # bytes of all tokens
        self._shown = 0  # bytes of the text that was given out

    def add(self, scored: TokenLogprob, piece: bytes) -> None:
        """The next token, which stands for these bytes of text."""
        self._waiting.append((self._taken, scored))
        self._taken += len(piece)

    def release(self, text: str, *, rest: bool) -> tuple[TokenLogprob, ...]:
        """The tokens that `text` begins or ends with; with `rest` all there are."""
        self._shown += len(text.encode())
        released: list[TokenLogprob] = []
        while self._waiting and (rest or self._waiting[0][0] < self._shown):
            released.append(self._waiting.popleft()[1])
        return tuple(released)
