"""Reads calls whose arguments are written between tags, each for itself, as they come.

    <tool_call>
    <function=NAME>
    <parameter=KEY>
    any text, also of several lines
    </parameter>
    </function>
    </tool_call>

The outer tags may be missing. What may be a call is held back until its function's name is known; from then on it is
one. Arguments that can only be text stream; others come whole, since only then is it known what they are.
"""

import re
from collections.abc import Sequence

from ..events import CallBegun
from ..markers import without_start
from ..reading import Reading
from .base import NewId, Tool
from .parameters import ANY, TEXT, Kinds, escaped, kinds_of, properties_of, read

CALL, CALL_END = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
LONGEST_KEY = 256

_OPENINGS = (CALL, FUNCTION)
_IN_CALL = (PARAMETER, FUNCTION_END, CALL_END)
_VALUE_ENDS = (PARAMETER_END, f"\n{PARAMETER_END}")
_KEY_ENDS = re.compile(r"[>\n]")


class TagReader(Reading):
    """One answer."""

    def __init__(self, tools: Sequence[Tool], new_id: NewId) -> None:
        super().__init__(self._text)
        self._kinds = {
            tool.name: {key: kinds_of(said, tool.parameters) for key, said in properties_of(tool).items()}
            for tool in tools
        }
        self._new_id = new_id
        self._index = -1
        self._lead = ""  # the opening tags of the present attempt, text after all if no call follows
        self._beside = False  # a call has just ended
        self._tagged = False  # its outer tag may still come
        self._name = ""
        self._count = 0  # arguments of the present call
        self._kind: Kinds = ANY  # of the present argument
        self._pieces: list[str] = []  # of its value, where it comes whole

    def _text(self) -> bool:
        if self._beside and not self._leave():
            return False
        found = [(at, opening) for opening in _OPENINGS if (at := self._held.find(opening)) >= 0]
        certain = self._held[: min(found)[0]] if found else without_start(self._held, _OPENINGS)
        shown = self._held if self._final and not found else certain.rstrip()
        self._say(shown)
        if not found:
            self._held = self._held[len(shown) :]
            return False
        opening = min(found)[1]
        length = len(certain) + len(opening)
        self._lead, self._held = self._held[len(shown) : length], self._held[length:]
        self._state = self._function if opening == CALL else self._named
        return True

    def _leave(self) -> bool:
        """Step over what is left of a call: white space, its outer tag. False: more may come."""
        rest = self._held.lstrip()
        if self._tagged and rest.startswith(CALL_END):
            rest, self._tagged = rest[len(CALL_END) :].lstrip(), False
        self._held = rest
        if not rest or (self._tagged and CALL_END.startswith(rest) and not self._final):
            return False
        self._beside = False
        return True

    def _function(self) -> bool:
        """Behind the outer tag."""
        rest = self._held.lstrip()
        if rest.startswith(FUNCTION):
            length = len(self._held) - len(rest) + len(FUNCTION)
            self._lead, self._held = self._lead + self._held[:length], self._held[length:]
            self._state = self._named
            return True
        return False if FUNCTION.startswith(rest) and not self._final else self._refuse()

    def _named(self) -> bool:
        for name in self._kinds:
            if self._held.startswith(f"{name}>"):
                self._held, self._name, self._count = self._held[len(name) + 1 :], name, 0
                self._index += 1
                self._events.append(CallBegun(self._index, self._new_id(), name))
                self._state = self._arguments
                return True
        waits = any(f"{name}>".startswith(self._held) for name in self._kinds) and not self._final
        return False if waits else self._refuse()

    def _refuse(self) -> bool:
        """It was no call: its tags are text, and what follows may hold one."""
        self._say(self._lead)
        self._lead, self._state = "", self._text
        return True

    def _arguments(self) -> bool:
        """Between the arguments of a call."""
        rest = self._held.lstrip()
        if rest.startswith(PARAMETER):
            self._held, self._state = rest[len(PARAMETER) :], self._key
            return True
        if any(tag.startswith(rest) and tag != rest for tag in _IN_CALL):
            self._held = "" if self._final else self._held  # of a tag that was cut nothing is said
            return False
        self._held = rest.removeprefix(FUNCTION_END)  # a model may forget it
        self._close()
        return True

    def _close(self) -> None:
        self._argue(self._index, "}" if self._count else "{}")
        self._beside = self._tagged = True
        self._state = self._text

    def _key(self) -> bool:
        found = _KEY_ENDS.search(self._held[: LONGEST_KEY + 1])
        if found and found[0] == ">" and found.start():
            key, self._held = self._held[: found.start()], self._held[found.end() :]
            self._argue(self._index, f'{self._before}"{escaped(key)}": ')
            self._count += 1
            self._kind, self._pieces = self._kinds[self._name].get(key, ANY), []
            self._state = self._value_begins
            return True
        if found or len(self._held) > LONGEST_KEY:
            self._close()
            self._held, self._beside = PARAMETER + self._held, False
            return True
        if self._final and self._held:
            self._argue(self._index, f'{self._before}"{escaped(self._held)}')
            self._held = ""
        return False

    @property
    def _before(self) -> str:
        """What stands before the name of an argument."""
        return ", " if self._count else "{"

    def _value_begins(self) -> bool:
        if not self._held:
            return False
        self._held, self._state = self._held.removeprefix("\n"), self._value
        if self._kind == TEXT:
            self._argue(self._index, '"')
        return True

    def _value(self) -> bool:
        at = self._held.find(PARAMETER_END)
        ended = at >= 0
        if ended:
            more, self._held = self._held[:at].removesuffix("\n"), self._held[at + len(PARAMETER_END) :]
        else:
            more = self._held if self._final else without_start(self._held, _VALUE_ENDS)
            self._held = self._held[len(more) :]
        if self._kind == TEXT:
            self._argue(self._index, escaped(more) + ('"' if ended else ""))
        else:
            self._pieces.append(more)
            if ended or self._final:
                whole = "".join(self._pieces)
                self._argue(self._index, read(whole, self._kind) if ended else whole)
        if ended:
            self._state = self._arguments
        return ended
