"""Reads the calls in an answer, for every format that says where they begin and end (`Layout`).

What may be a call is held back until its function's name is known; from then on it is one, and its arguments stream.
White space beside a call is layout and is dropped; all other text comes out as it was.
"""

from collections.abc import Sequence

from msgspec import Struct

from ..events import CallBegun
from ..markers import without_start
from ..reading import Reading
from .base import NewId
from .json_stream import CallObject, Value

# Characters of an answer that are read a second time because they were no call. An answer full of markers could
# otherwise be read as often as it has markers; beyond this, what is no call is text without another look.
MOST_REREAD = 1 << 16


class Opening(Struct, frozen=True):
    """How a call begins. After the marker comes JSON (an object of name and arguments, or a list of them) or, where
    there are `separators`, the bare name, one of these, and the arguments as an object. `end` may be missing. An
    opening that is not `sure` may begin other JSON as well: then only an object with nothing but a call's keys, the
    arguments among them, is a call."""

    marker: str
    end: str = ""
    json: bool = True
    separators: tuple[str, ...] = ()
    sure: bool = True


class Layout(Struct, frozen=True):
    """Where the calls of an answer are. `bare` is a call without a marker, as it may stand at the beginning of an
    answer or behind another such; `silent` is no text wherever it stands, and `prelude` none at the beginning."""

    openings: tuple[Opening, ...] = ()
    bare: Opening | None = None
    silent: tuple[str, ...] = ()
    prelude: str = ""


class CallReader(Reading):
    """One answer."""

    def __init__(self, layout: Layout, names: Sequence[str], new_id: NewId) -> None:
        super().__init__(self._prelude)
        self._layout = layout
        self._names = frozenset(names)
        self._new_id = new_id
        self._index = -1
        self._opening = Opening("")
        self._lead = ""  # the opening of the present attempt, text after all if no call follows
        self._attempt: list[str] = []  # what was read since
        self._begun = False  # whether the present opening has had a call
        self._accepted = False  # whether the call that is being read is one
        self._listed = False
        self._object = CallObject(frozenset(), sure=True, lenient=False)
        self._arguments = Value()
        self._reread = 0
        self._beside = False  # a call has just ended
        self._end = ""  # its end marker, if that may still come

    def _prelude(self) -> bool:
        prelude = self._layout.prelude
        if len(self._held) < len(prelude) and prelude.startswith(self._held) and not self._final:
            return False
        self._held, self._state = self._held.removeprefix(prelude), self._beginning
        return True

    def _beginning(self) -> bool:
        """The answer begins, or a call without a marker has ended."""
        rest = self._held.lstrip()
        if self._index >= 0 and rest[:1] in (";", ","):
            rest = rest[1:].lstrip()
        if not rest and not self._final:
            return False
        bare = self._layout.bare
        if rest and bare and (bare.separators or rest[0] in "{["):
            self._begin(bare, len(self._held) - len(rest))
        else:
            self._state = self._text
        return True

    def _text(self) -> bool:
        if self._beside and not self._leave():
            return self._state == self._body
        openings = {opening.marker: opening for opening in self._layout.openings}
        markers = [marker for marker in (*openings, *self._layout.silent, self._end) if marker]
        found = [(at, -len(marker), marker) for marker in markers if (at := self._held.find(marker)) >= 0]
        certain = self._held[: min(found)[0]] if found else without_start(self._held, markers)
        shown = self._held if self._final and not found else certain.rstrip()
        self._say(shown)
        self._held = self._held[len(shown) :]
        length = len(certain) - len(shown)  # of the white space that is layout if a marker follows
        rest = self._held[length:]
        if not found or (not self._final and any(marker.startswith(rest) and marker != rest for marker in markers)):
            return False
        marker = min(found)[-1]
        if marker in openings:
            self._begin(openings[marker], length + len(marker))
        else:
            self._held = rest[len(marker) :]
            self._end, self._beside = "" if marker == self._end else self._end, True
        return True

    def _leave(self) -> bool:
        """Step over what is left of a call: white space, brackets too many, its end marker. False: more may come, or
        another object has begun before the end marker."""
        self._held = self._held.lstrip(" \t\r\n]}" if self._end else None)
        if self._end and self._held.startswith(self._end):
            self._held, self._end = self._held[len(self._end) :].lstrip(), ""
        if not self._held or (self._end and self._end.startswith(self._held) and not self._final):
            return False
        if self._end and self._held[0] == "{" and self._opening.json:
            self._begin(self._opening, 0)
            return False
        self._beside = False
        return True

    def _begin(self, opening: Opening, length: int) -> None:
        """Try to read a call whose opening, with the white space before it, has this length."""
        self._opening, self._begun, self._listed, self._attempt = opening, False, False, []
        self._lead, self._held, self._accepted = self._held[:length], self._held[length:], False
        self._state = self._body

    def _body(self) -> bool:
        rest = self._held.lstrip()
        if not rest and not self._final:
            return False
        if self._opening.json and rest[:1] in ("{", "["):
            self._listed = rest[0] == "["
            self._take(len(self._held) - len(rest) + self._listed)
            if self._listed:
                self._state = self._items
            else:
                self._read_object()
        elif rest and self._opening.separators:
            self._state = self._named
        else:
            return self._refuse()
        return True

    def _items(self) -> bool:
        """Between the calls of a list."""
        rest = self._held.lstrip()
        if self._begun and rest[:1] == ",":
            rest = rest[1:].lstrip()
        if not rest and not self._final:
            return False
        if rest[:1] == "{":
            self._take(len(self._held) - len(rest))
            self._read_object()
        elif self._begun:
            self._held = rest[1:] if rest[:1] == "]" else self._held
            self._close()
        else:
            return self._refuse()
        return True

    def _read_object(self) -> None:
        sure, lenient = self._opening.sure, not self._opening.end
        self._object, self._accepted = CallObject(self._names, sure=sure, lenient=lenient), False
        self._state = self._in_object

    def _in_object(self) -> bool:
        call = self._object
        self._take(call.feed(self._held))
        whole = call.state == "done" and self._opening.sure
        if call.name is not None and call.name in self._names and (call.begun or whole) and not self._accepted:
            self._accept(call.name)
        if call.state == "open" and self._final:
            call.flush()
        if self._accepted:
            self._argue(self._index, call.take())
        if call.state == "open" and not self._final:
            return False
        if not self._accepted:
            return self._refuse()
        if call.state == "done":
            self._argue(self._index, "" if call.begun else "{}")
            if self._listed:
                self._state = self._items
            else:
                self._close()
        else:
            self._state = self._raw
        return True

    def _named(self) -> bool:
        """A function's name, a separator and an object."""
        rest = self._held.lstrip()
        undecided = False
        for name in self._names:
            for separator in self._opening.separators:
                start = name + separator
                behind = rest[len(start) :].lstrip()
                if rest.startswith(start) and behind.startswith("{"):
                    self._take(len(self._held) - len(behind))
                    self._accept(name)
                    self._arguments, self._state = Value(lenient=not self._opening.end), self._in_arguments
                    return True
                undecided |= start.startswith(rest) or (rest.startswith(start) and not behind)
        return False if undecided and not self._final else self._refuse()

    def _in_arguments(self) -> bool:
        value = self._arguments
        self._argue(self._index, self._take(value.feed(self._held)))
        if value.state == "open":
            return False
        if value.state == "done":
            self._close()
        else:
            self._state = self._raw
        return True

    def _raw(self) -> bool:
        """Arguments that are no JSON, up to the end marker."""
        end = self._opening.end
        at = self._held.find(end) if end else -1
        if at >= 0:
            self._argue(self._index, self._take(at))
            self._close()
            return True
        self._argue(self._index, self._take(len(self._held if self._final else without_start(self._held, [end]))))
        return False

    def _take(self, length: int) -> str:
        """Read this much, as a part of the attempt while there is one."""
        taken, self._held = self._held[:length], self._held[length:]
        if taken and not self._accepted:
            self._attempt.append(taken)
        return taken

    def _accept(self, name: str) -> None:
        self._index += 1
        self._lead, self._attempt, self._begun, self._accepted = "", [], True, True
        self._events.append(CallBegun(self._index, self._new_id(), name))

    def _refuse(self) -> bool:
        """It was no call. Its marker is text, and what followed is read again as text that may hold a call."""
        attempt = "".join(self._attempt)
        self._reread += len(attempt)
        if self._reread > MOST_REREAD:
            self._lead, attempt = self._lead + attempt, ""
        self._held = attempt + self._held
        if self._opening.marker or self._reread > MOST_REREAD:
            self._say(self._lead)
            self._beside = False
        else:
            self._held = self._lead + self._held
        self._lead, self._attempt, self._state = "", [], self._text
        return True

    def _close(self) -> None:
        """The call, or the list of them, is over."""
        self._end, self._beside, self._accepted = self._opening.end, True, False
        self._state = self._beginning if self._opening == self._layout.bare else self._text
