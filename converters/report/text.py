"""The text that artifacts are measured on, in tokens, and the rows that a reference wrote about it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from server.errors import InvalidValue, LoadFailed
from server.runners.base import FloatRows

from ..quality import Reference, log_softmax, prose

BUNDLED = "bundled text"
WINDOW = 512  # tokens that see each other
LEAST = 128  # tokens; of fewer a 99th percentile says nothing
MOST = 1024  # tokens: 600 MB of logits for a vocabulary of 150,000


@dataclass(frozen=True, slots=True)
class Text:
    """A text and what to call it."""

    name: str
    words: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.words.encode()).hexdigest()


def read(path: Path | None) -> Text:
    """A file in UTF-8, or the bundled text. Raises InvalidValue."""
    if path is None:
        return Text(BUNDLED, prose())
    try:
        return Text(path.name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}.") from None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None


def windows(tokens: list[int], context: int, most: int = MOST, lead: Sequence[int] = ()) -> list[list[int]]:
    """The first `most` tokens in sequences of at most WINDOW. Raises InvalidValue for fewer than LEAST.

    `lead`: what the model wants at the start of a text (Gemma is lost without), and `tokens` begins with; so does every
    sequence.
    """
    if len(tokens) < LEAST:
        raise InvalidValue(f"The text has {len(tokens)} tokens; at least {LEAST} are needed. Take a longer one.")
    width = min(WINDOW, context) - len(lead)
    body = tokens[len(lead) : most]
    parts = [body[at : at + width] for at in range(0, len(body), width)]
    return [[*lead, *part] for part in parts if len(lead) + len(part) > 1]  # one token tells nothing of the next


class Listened:
    """A source of rows that notes, as they go by, how probable each next token of the text was."""

    def __init__(self, source: Reference) -> None:
        self.name = source.name
        self._source = source
        self._surprise = 0.0  # nats
        self._tokens = 0

    def rows(self, tokens: list[int], step: int) -> Iterator[FloatRows]:
        at = 1
        for rows in self._source.rows(tokens, step):
            following = tokens[at : at + len(rows)]
            for row, token in zip(rows, following, strict=False):  # nothing follows the last
                self._surprise -= float(log_softmax(row[None])[0, token])
            self._tokens += len(following)
            at += len(rows)
            yield rows

    @property
    def perplexity(self) -> float:
        found = float(np.exp(self._surprise / self._tokens))
        if not np.isfinite(found):
            raise LoadFailed(f"{self.name}: its logits are no numbers, or it takes the text for impossible.")
        return found


class StoredRows:
    """Rows of a file, sequence after sequence in the order they were written."""

    def __init__(self, file: BinaryIO, vocabulary: int, name: str) -> None:
        self.name = name
        self._file = file
        self._vocabulary = vocabulary

    def rows(self, tokens: list[int], step: int) -> Iterator[FloatRows]:
        for start in range(0, len(tokens), step):
            count = min(step, len(tokens) - start)
            yield np.fromfile(self._file, np.float32, count * self._vocabulary).reshape(count, self._vocabulary)
