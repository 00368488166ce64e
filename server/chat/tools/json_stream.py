"""JSON read as it comes, cut anywhere: where a value ends, what an escaped string says, what a call is of.

The scanners look at structure only (brackets, strings, the characters that may stand between them). Whether `tru` is a
word of JSON does not matter here: arguments are passed on as they were written.
"""

import json
import re
from collections.abc import Callable
from typing import Literal

State = Literal["open", "done", "broken"]

_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_SCALAR = frozenset("+-.0123456789eEtrufalsn")  # numbers, true, false, null
_BETWEEN = frozenset(" \t\r\n,:") | _SCALAR
_CLOSER = {"{": "}", "[": "]"}
_SPACE = " \t\r\n"
# A pair of surrogates, one code unit, any other escape, or a run without escapes.
_PIECE = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<unit>\\u[0-9a-fA-F]{4})|(?P<short>\\.)|[^\\]+",
    re.DOTALL,
)
# The beginning of an escape, or half of a pair whose other half may follow.
_UNFINISHED = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?"
)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
NAME_KEYS = frozenset({"name"})
ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
CALL_KEYS = NAME_KEYS | ARGUMENT_KEYS | {"type", "id"}


class Value:
    """Finds the end of one JSON value. `lenient` lets control characters stand in strings, as models write them."""

    def __init__(self, lenient: bool = False) -> None:
        self.state: State = "open"
        self.kind = ""  # its first character
        self._lenient = lenient
        self._closers: list[str] = []
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, at: int = 0) -> int:
        """Read on from `at`; the position behind what belongs to the value."""
        while at < len(text) and self.state == "open":
            at = self._string(text, at) if self._in_string else self._structure(text, at)
        return at

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        if run := _PLAIN.match(text, at):
            return run.end()
        character = text[at]
        if character == '"':
            self._in_string = False
            if not self._closers:
                self.state = "done"
        elif character == "\\":
            self._escaped = True
        elif not self._lenient:
            self.state = "broken"
            return at
        return at + 1

    def _structure(self, text: str, at: int) -> int:
        character = text[at]
        first = not self.kind
        self.kind = self.kind or character
        if not self._closers and (not first or character not in '{["'):
            return self._scalar(character, at)
        if character == '"':
            self._in_string = True
        elif character in _CLOSER:
            self._closers.append(_CLOSER[character])
        elif character == self._closers[-1]:
            self._closers.pop()
            if not self._closers:
                self.state = "done"
        elif character not in _BETWEEN:
            self.state = "broken"
            return at
        return at + 1

    def _scalar(self, character: str, at: int) -> int:
        if character in _SCALAR:
            return at + 1
        self.state = "done" if self.kind in _SCALAR else "broken"
        return at


class Unescaper:
    """What the inside of a JSON string says. Half of a surrogate pair becomes U+FFFD, a bad escape stays as it is."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, raw: str, final: bool = False) -> str:
        self._held += raw
        said: list[str] = []
        at = 0
        while at < len(self._held):
            if not final and _UNFINISHED.fullmatch(self._held, at):
                break
            piece = _PIECE.match(self._held, at)
            said.append(_said(piece) if piece else self._held[at:])
            at = piece.end() if piece else len(self._held)
        self._held = self._held[at:]
        return "".join(said)


def _said(piece: re.Match[str]) -> str:
    text = piece[0]
    if piece["pair"] or piece["unit"]:
        said = json.loads(f'"{text}"')
        return "\ufffd" if "\ud800" <= said <= "\udfff" and len(said) == 1 else str(said)
    if piece["short"] and text != "\\u":
        return _SHORT.get(text[1], text[1] if text[1] in '"\\/' else text)
    return text


class CallObject:
    """Reads `{"name": ..., "arguments": {...}}`, keys in any order, and gives the arguments' text as it comes.

    `broken` is an object that is no call: bad JSON before the call began, a name that is not in the list, or, for
    one that is not `sure`, a key that calls do not have. Once it has `begun`, `broken` means that its arguments are.
    """

    def __init__(self, names: frozenset[str], *, sure: bool, lenient: bool) -> None:
        self.state: State = "open"
        self.name: str | None = None
        self._names = names
        self._sure = sure
        self._lenient = lenient
        self._expect: Callable[[str, int], int] = self._opening
        self._key = ""
        self._raw: list[str] = []
        self._length = 0  # of the value so far
        self._value = Value()
        self._has_arguments = False
        self._complete = False
        self._unescaper = Unescaper()
        self._pieces: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether the name is known and the arguments have begun: from here on it is a call."""
        return self.name is not None and self._has_arguments

    def feed(self, text: str) -> int:
        """Read on; how many characters belong to the object."""
        at = 0
        while at < len(text) and self.state == "open":
            if text[at] in _SPACE and self._expect not in (self._in_key, self._in_value):
                at += 1
            else:
                at = self._expect(text, at)
        return at

    def take(self) -> str:
        """The text of the arguments since the last time."""
        taken = "".join(self._pieces)
        self._pieces.clear()
        return taken

    def flush(self) -> None:
        """The text ends inside the object: let go of what waits for the rest of an escape or a number."""
        if self._value.kind == '"':
            self._pieces.append(self._unescaper.push("", final=True))
        elif self._expect == self._in_value and self._key in ARGUMENT_KEYS and self._value.kind not in _CLOSER:
            self._pieces.extend(self._raw)

    def _opening(self, text: str, at: int) -> int:
        assert text[at] == "{"
        self._expect = self._before_key
        return at + 1

    def _before_key(self, text: str, at: int) -> int:
        if text[at] == "}":
            self.state = "done"
            return at + 1
        if text[at] != '"':
            return self._fail(at)
        self._key = ""
        self._value, self._raw, self._length, self._expect = Value(), [], 0, self._in_key
        return at

    def _in_key(self, text: str, at: int) -> int:
        at = self._read(text, at)
        if self._value.state == "done":
            self._key = _decoded("".join(self._raw)) or ""
            self._expect = self._colon
            if not self._sure and self._key not in CALL_KEYS:
                return self._fail(at)
        return self._fail(at) if self._value.state == "broken" else at

    def _colon(self, text: str, at: int) -> int:
        if text[at] != ":":
            return self._fail(at)
        self._expect = self._before_value
        return at + 1

    def _before_value(self, text: str, at: int) -> int:
        if self._key in ARGUMENT_KEYS and self._has_arguments:
            self._key = ""  # a second time: the first one counts
        self._has_arguments |= self._key in ARGUMENT_KEYS
        self._value, self._raw, self._length, self._expect = Value(self._lenient), [], 0, self._in_value
        return at

    def _in_value(self, text: str, at: int) -> int:
        end = self._read(text, at)
        if self._key in ARGUMENT_KEYS:
            self._argue(text[at:end])
        if self._value.state == "broken":
            self.flush()
            return self._fail(end)
        if self._value.state == "done":
            self._expect = self._after_value
            if self._key in NAME_KEYS and self.name is None:
                self.name = _decoded("".join(self._raw))
                if self.name not in self._names:
                    return self._fail(end)
        return end

    def _after_value(self, text: str, at: int) -> int:
        if text[at] == "}":
            self.state = "done"
        elif text[at] == ",":
            self._expect = self._before_key
        else:
            return self._fail(at)
        return at + 1

    def _read(self, text: str, at: int) -> int:
        end = self._value.feed(text, at)
        if self._key not in ARGUMENT_KEYS or self._value.kind not in ("{", '"'):
            self._raw.append(text[at:end])
        self._length += end - at
        return end

    def _argue(self, piece: str) -> None:
        """More of the arguments' value: an object as it is, a string unescaped, and null for no arguments."""
        done = self._value.state == "done"
        if self._value.kind in _CLOSER:
            self._pieces.append(piece)
        elif self._value.kind == '"':
            begins = self._length == len(piece)
            inside = piece[1 if begins else 0 : -1 if done else None]
            self._pieces.append(self._unescaper.push(inside, final=done))
            if done and self._length == len('""'):
                self._pieces.append("{}")
        elif done:
            written = "".join(self._raw)
            self._pieces.append("{}" if written == "null" else written)
        self._complete = done

    def _fail(self, at: int) -> int:
        """What follows complete arguments cannot spoil the call."""
        self.state = "done" if self.begun and self._complete else "broken"
        return at


def _decoded(raw: str) -> str | None:
    """The string that `raw` says, or None."""
    try:
        said = json.loads(raw, strict=False)
    except ValueError:
        return None
    return said if isinstance(said, str) else None
