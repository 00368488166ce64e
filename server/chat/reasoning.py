"""What a thinking model says to itself, apart from its answer, and the switch that makes it think or not. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidValue, UnsupportedField
from .events import Reasoning
from .markers import without_start
from .reading import Reading, State

OPEN, CLOSE = "<think>", "</think>"
SHOWN = (OPEN, CLOSE)  # special tokens that the splitter needs to see, where a model has them as such

# What a template finds in scope by our own hand, by Jinja's, or in the midst of a loop, block or macro.
RESERVED = frozenset(
    "messages tools documents add_generation_prompt bos_token eos_token raise_exception strftime_now range dict"
    " namespace self super loop caller varargs kwargs".split()
)
MOST_VARIABLES = 64
_SWITCHES = ("enable_thinking", "thinking")  # Qwen 3, SmolLM3 and GLM; DeepSeek V3.1 and Granite

_TAGS = re.compile(r"\{%.*?%\}", re.DOTALL)  # what is said between tags may speak of thinking


def thinks(template: str | None) -> bool:
    """Whether a model with this chat template may think before it answers."""
    return CLOSE in (template or "") or OPEN in (template or "")


def starts_inside(prompt: str, prefill: str = "") -> bool:
    """Whether the answer to this prompt begins inside a thought: the template ends with `<think>`, or the text of an
    answer that is continued left one open."""
    if OPEN in prefill or CLOSE in prefill:
        return prefill.rfind(OPEN) > prefill.rfind(CLOSE)
    return prompt.rstrip().endswith(OPEN)


def variables_for(
    template: str | None, reasoning_effort: str | None, chat_template_kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The variables that make the template do as the request says; the named ones count over the effort.

    An effort other than "none" is a wish: a template that knows no degrees thinks as it does. Raises InvalidValue for
    a variable that is not the client's to set, UnsupportedField for "none" where a model thinks without a switch.
    """
    given = _checked(chat_template_kwargs or {})
    if reasoning_effort is None:
        return given
    code = " ".join(_TAGS.findall(template or ""))
    known = {name for name in (*_SWITCHES, "reasoning_effort") if re.search(rf"\b{name}\b", code)}
    switches = [name for name in _SWITCHES if name in known]
    if reasoning_effort == "none" and thinks(template) and not known and not given:
        raise UnsupportedField(
            "reasoning_effort: this model always thinks; its chat template has no switch", param="reasoning_effort"
        )
    variables: dict[str, Any] = dict.fromkeys(switches, reasoning_effort != "none")
    if "reasoning_effort" in known:
        variables["reasoning_effort"] = reasoning_effort
    return variables | given


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a client. Raises InvalidValue for what is no name, is taken, or is too much."""
    if len(given) > MOST_VARIABLES:
        raise _wrong(f"{len(given)} variables are more than the {MOST_VARIABLES} that a template may be given.")
    if taken := sorted(RESERVED & given.keys()):
        raise _wrong(f"{', '.join(taken)} cannot be given as a variable.")
    for name in given:
        if not name.isidentifier() or name.startswith("__"):
            raise _wrong(f"{name[:60]!a} is no name of a variable.")
    return dict(given)


def _wrong(reason: str) -> InvalidValue:
    return InvalidValue(f"chat_template_kwargs: {reason}", param="chat_template_kwargs")


class ReasoningSplitter(Reading):
    """Splits one answer, as it comes, into a thought and the text after it.

    Only what an answer begins with is a thought; later tags are text. A thought that was not
    closed is one. Line breaks beside the tags are layout.
    """

    def __init__(self, inside: bool = False) -> None:
        super().__init__(self._beginning)
        self._inside = inside

    def _beginning(self) -> bool:
        rest = self._held.lstrip()
        if len(rest) < len(OPEN) and OPEN.startswith(rest) and not self._final:
            return False
        if rest.startswith(OPEN):  # some models open again the thought that the prompt has opened
            self._held, self._inside = rest[len(OPEN) :], True
        self._state = self._thought_begins if self._inside else self._text
        return True

    def _thought_begins(self) -> bool:
        return self._at_text(self._thought)

    def _thought(self) -> bool:
        at = self._held.find(CLOSE)
        if at >= 0:
            self._think(self._held[:at].rstrip("\n"))
            self._held, self._state = self._held[at + len(CLOSE) :], self._text_begins
            return True
        shown = self._held if self._final else without_start(self._held, SHOWN[1:]).rstrip("\n")
        self._think(shown)
        self._held = self._held[len(shown) :]
        return False

    def _text_begins(self) -> bool:
        return self._at_text(self._text)

    def _text(self) -> bool:
        self._say(self._held)
        self._held = ""
        return False

    def _at_text(self, state: State) -> bool:
        """Step over line breaks; then comes `state`."""
        self._held = self._held.lstrip("\n")
        if self._held:
            self._state = state
        return bool(self._held)

    def _think(self, text: str) -> None:
        if text:
            self._events.append(Reasoning(text))
