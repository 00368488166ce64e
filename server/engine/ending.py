"""JSON that comes to an end: numbers that a double can hold, and a close before the tokens run out.

A grammar says what may come next, not when to stop, and a small model at temperature 1 writes digits or nested objects
until it is cut; half a document is worth nothing. So digits are left out of the mask after as many as a double tells
apart, and near the end of the budget only what closes strings and brackets is left in it. A thought before the document
is closed earlier, so that the document has its share. Nothing is left out where nothing else would remain, so the
grammar always has the last word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..chat import reasoning
from ..types import Thought

Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]
MOST_DIGITS = 17  # that a double tells apart
MOST_EXPONENT = 2  # digits; with three a number may be infinite
SHARE, LEAST, MOST = 4, 16, 256  # tokens of the end: a quarter of the budget, within these bounds
# A thought is closed when so many times the tokens of the end are left: one for the document, one for its end.
THOUGHT_SHARES = 2
DIGITS, QUOTE, BACKSLASH = frozenset(b"0123456789"), ord('"'), ord("\\")
OPEN, CLOSE = reasoning.OPEN.encode(), reasoning.CLOSE.encode()


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the tokens of a vocabulary do in JSON, each [vocab_size], and how a thought is closed with them."""

    pieces: Sequence[bytes]
    marks: Mapping[int, bytes]  # special tokens that begin or close a thought
    closing: tuple[Ids, ...]  # tokens that go on with `</think>`, by how many bytes of it are there
    digits: Bools  # begin with a digit
    end_string: Bools  # close a string, and perhaps brackets
    end_bracket: Bools  # close brackets
    opening: Bools  # begin with what makes the document longer
    at: Bools  # begin with "@"
    end: Bools  # end the answer

    @classmethod
    def of(
        cls,
        pieces: Sequence[bytes],
        eos_ids: frozenset[int] = frozenset(),
        marks: Mapping[int, bytes] | None = None,
    ) -> "Kinds":
        def where(first: bytes, rest: bytes | None) -> Bools:
            found = (
                bool(piece) and piece[0] in first and (rest is None or not piece[1:].strip(rest)) for piece in pieces
            )
            return np.fromiter(found, np.bool_, len(pieces))

        marks = marks or {}
        return cls(
            pieces=pieces,
            marks=marks,
            closing=_closing(pieces, marks),
            digits=where(b"0123456789", None),
            end_string=where(b'"', b"}] \n"),
            end_bracket=where(b"}]", b"}] \n"),
            opening=where(b"{[,", None),
            at=where(b"@", None),
            end=np.isin(np.arange(len(pieces)), sorted(eos_ids)),
        )


def _closing(pieces: Sequence[bytes], marks: Mapping[int, bytes]) -> tuple[Ids, ...]:
    """The special token alone where there is one: it is the only close that the grammar then takes."""
    special = [token for token, mark in marks.items() if mark == CLOSE]
    if special:
        return (np.array(special, np.int64),) * len(CLOSE)
    parts = {CLOSE[i:j] for i in range(len(CLOSE)) for j in range(i + 1, len(CLOSE) + 1)}
    found = [(token, piece) for token, piece in enumerate(pieces) if piece in parts]
    rests = (CLOSE[i:] for i in range(len(CLOSE)))
    return tuple(np.array([token for token, piece in found if rest.startswith(piece)], np.int64) for rest in rests)


class Ending:
    """Where one answer is, as far as its end is concerned."""

    def __init__(self, kinds: Kinds, thought: Thought = "none") -> None:
        self._kinds = kinds
        self._thought = thought
        self._tail = b""  # of what came while a thought may come or be open: as much as decides whether a mark is there
        self._in_string = False
        self._escaped = False
        self._digits = 0  # of the number that is being written
        self._exponent = False

    def accept(self, token: int) -> None:
        """Read the next token."""
        text = self._kinds.pieces[token] or self._kinds.marks.get(token, b"")
        for byte in text if self._thought == "none" else self._after_thought(text):
            self._read(byte)

    def narrowed(self, allowed: Bools, left: int, budget: int) -> Bools:
        """The mask without what would keep the answer from ending; `left` tokens of `budget` may still come."""
        end = max(LEAST, min(MOST, budget // SHARE))
        if self._thought == "inside":
            return self._thought_ended(allowed) if left <= THOUGHT_SHARES * end else allowed
        ending = left <= end
        kinds = self._kinds
        if self._in_string:
            return self._string_ended(allowed) if ending else allowed
        if ending:
            allowed = _only(allowed, kinds.end)
            allowed = _only(allowed, kinds.end_bracket)
            allowed = _without(allowed, kinds.opening)
        if self._digits >= (MOST_EXPONENT if self._exponent else MOST_DIGITS) or (ending and self._digits):
            allowed = _without(allowed, kinds.digits)
        return allowed

    def _string_ended(self, allowed: Bools) -> Bools:
        """What closes the string. Where its format allows no close yet: the `@` that an address needs, or else no more
        digits, of which a time's fraction can have any number."""
        for kind in (self._kinds.end_string, self._kinds.at):
            if (both := allowed & kind).any():
                return both
        return _without(allowed, self._kinds.digits)

    def _thought_ended(self, allowed: Bools) -> Bools:
        """What goes on with `</think>`, of which the thought may have ended with the beginning."""
        begun = next(count for count in reversed(range(len(CLOSE))) if self._tail.endswith(CLOSE[:count]))
        closing = np.zeros_like(allowed)
        closing[self._kinds.closing[begun]] = True
        return _only(allowed, closing)

    def _after_thought(self, text: bytes) -> bytes:
        """The part of what came that belongs to the document."""
        self._tail += text
        if self._thought == "may":
            if self._tail.startswith(OPEN):
                self._thought, self._tail = "inside", self._tail.removeprefix(OPEN)
            elif OPEN.startswith(self._tail):
                return b""
            else:
                self._thought = "none"
                return self._tail
        _, mark, after = self._tail.partition(CLOSE)
        if mark:
            self._thought = "none"
            return after
        self._tail = self._tail[1 - len(CLOSE) :]
        return b""

    def copy(self) -> "Ending":
        twin = Ending(self._kinds, self._thought)
        twin._tail = self._tail
        twin._in_string, twin._escaped = self._in_string, self._escaped
        twin._digits, twin._exponent = self._digits, self._exponent
        return twin

    def _read(self, byte: int) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif byte == BACKSLASH:
                self._escaped = True
            elif byte == QUOTE:
                self._in_string = False
            return
        if byte in DIGITS:
            self._digits += 1
        else:
            self._digits = 0
            self._exponent = byte in b"eE" or (self._exponent and byte in b"+-")
            self._in_string = byte == QUOTE


def _only(allowed: Bools, kind: Bools) -> Bools:
    both = allowed & kind
    return both if both.any() else allowed


def _without(allowed: Bools, kind: Bools) -> Bools:
    rest = allowed & ~kind
    return rest if rest.any() else allowed
