"""What a thinking model says to itself, apart from its answer, and the switch that makes it think or not. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidValue, UnsupportedField
from .events import ChatEvent, Reasoning, Text
from .markers import without_start

OPEN, CLOSE = "<think>", "</think>"
SHOWN = (OPEN, CLOSE)  # special tokens that the splitter needs to see, where a model has them as such

# What a template finds in scope by our own hand or Jinja's.
RESERVED = frozenset(
    "messages tools documents add_generation_prompt bos_token eos_token raise_exception strftime_now range dict"
    " namespace".split()
)
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
    given = dict(chat_template_kwargs or {})
    if taken := sorted(RESERVED & given.keys()):
        raise InvalidValue(
            f"chat_template_kwargs: {', '.join(taken)} cannot be given as a variable", param="chat_template_kwargs"
        )
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


class ReasoningSplitter:
    """Splits one answer, as it comes, into a thought and the text after it.

    Only what an answer begins with is a thought; later tags are text. Line breaks beside the tags are layout.
    """

    def __init__(self, inside: bool = False) -> None:
        self._state = self._beginning
        self._inside = inside
        self._held = ""
        self._final = False
        self._events: list[ChatEvent] = []

    def push(self, text: str) -> list[ChatEvent]:
        """The events that are certain now."""
        self._held += text
        while self._state():
            pass
        events, self._events = self._events, []
        return events

    def finish(self) -> list[ChatEvent]:
        """The end of the answer. A thought that was not closed is one."""
        self._final = True
        return self.push("")

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
        if self._held:
            self._events.append(Text(self._held))
        self._held = ""
        return False

    def _at_text(self, state: Any) -> bool:
        """Step over line breaks; then comes `state`."""
        self._held = self._held.lstrip("\n")
        if self._held:
            self._state = state
        return bool(self._held)

    def _think(self, text: str) -> None:
        if text:
            self._events.append(Reasoning(text))
