"""JSON that comes to an end: numbers that a double can hold, and a close before the tokens run out.

A grammar says what may come next, not when to stop, and a small model at temperature 1 writes digits or nested objects
until it is cut; half a document is worth nothing. So digits are left out of the mask after as many as a double tells
apart, and near the end of the budget only what closes strings and brackets is left in it. Nothing is left out where
nothing else would remain, so the grammar always has the last word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
MOST_DIGITS = 17  # that a double tells apart
MOST_EXPONENT = 2  # digits; with three a number may be infinite
SHARE, LEAST, MOST = 4, 16, 256  # tokens of the end: a quarter of the budget, within these bounds
DIGITS, QUOTE, BACKSLASH = frozenset(b"0123456789"), ord('"'), ord("\\")


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the tokens of a vocabulary do in JSON, each [vocab_size]."""

    digits: Bools  # begin with a digit
    end_string: Bools  # close a string, and perhaps brackets
    end_bracket: Bools  # close brackets
    opening: Bools  # begin with what makes the document longer
    at: Bools  # begin with "@"
    end: Bools  # end the answer

    @classmethod
    def of(cls, pieces: Sequence[bytes], eos_ids: frozenset[int] = frozenset()) -> "Kinds":
        def where(first: bytes, rest: bytes | None) -> Bools:
            found = (
                bool(piece) and piece[0] in first and (rest is None or not piece[1:].strip(rest)) for piece in pieces
            )
            return np.fromiter(found, np.bool_, len(pieces))

        return cls(
            digits=where(b"0123456789", None),
            end_string=where(b'"', b"}] \n"),
            end_bracket=where(b"}]", b"}] \n"),
            opening=where(b"{[,", None),
            at=where(b"@", None),
            end=np.isin(np.arange(len(pieces)), sorted(eos_ids)),
        )


class Winding:
    """Where one document is, as far as its end is concerned."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._in_string = False
        self._escaped = False
        self._digits = 0  # of the number that is being written
        self._exponent = False

    def accept(self, piece: bytes) -> None:
        """Read the bytes of the next token."""
        for byte in piece:
            self._read(byte)

    def narrowed(self, allowed: Bools, left: int, budget: int) -> Bools:
        """The mask without what would keep the document from ending; `left` tokens of `budget` may still come."""
        ending = left <= max(LEAST, min(MOST, budget // SHARE))
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

    def copy(self) -> "Winding":
        twin = Winding(self._kinds)
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
