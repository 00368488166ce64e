"""Items of the Responses API as the messages of a conversation. Pure."""

from typing import Any

from ...errors import InvalidValue
from ..schemas.responses_items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputMessage,
    Item,
    OutputMessage,
    ReasoningItem,
    Refusal,
)

Message = dict[str, Any]


def messages_of(instructions: str | None, items: list[Item]) -> list[Message]:
    """The messages in OpenAI's chat shape. Raises InvalidValue for the output of a call that nobody made, and
    where no message comes of them.

    Calls that follow each other, and the thoughts and words around them, are one message of the assistant.
    """
    history = _History()
    if instructions:
        history.messages.append({"role": "system", "content": instructions})
    for item in items:
        history.add(item)
    if not history.messages:
        raise InvalidValue("input: thoughts alone are nothing to answer.", param="input")
    return history.messages


class _History:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._calls: set[str] = set()
        self._thoughts = ""

    def add(self, item: Item) -> None:
        match item:
            case ReasoningItem():
                self._thoughts = "\n".join(filter(None, [self._thoughts, *(part.text for part in item.content)]))
            case OutputMessage():
                self._answer(_words(item))
            case FunctionCallItem():
                self._call(item)
            case FunctionOutputItem():
                self._output(item)
            case InputMessage():
                self._tell({"role": "system" if item.role == "developer" else item.role, "content": _words(item)})

    def _tell(self, message: Message) -> None:
        """Thoughts that led to nothing are told to nobody."""
        self._thoughts = ""
        self.messages.append(message)

    def _answer(self, words: str = "") -> None:
        """More of the assistant. Templates want calls and what is said around them in one message."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant" or (words and "tool_calls" not in last):
            last = {"role": "assistant", "content": ""}
            self.messages.append(last)
        for name, text in (("content", words), ("reasoning_content", self._thoughts)):
            if text:
                last[name] = "\n".join(filter(None, (last.get(name), text)))
        self._thoughts = ""

    def _call(self, item: FunctionCallItem) -> None:
        self._answer()
        function = {"name": item.name, "arguments": item.arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        self.messages[-1].setdefault("tool_calls", []).append(call)
        self._calls.add(item.call_id)

    def _output(self, item: FunctionOutputItem) -> None:
        if item.call_id not in self._calls:
            raise InvalidValue(f"input: there is no function call with call_id '{item.call_id[:80]}'.", param="input")
        text = item.output if isinstance(item.output, str) else "\n".join(part.text for part in item.output)
        self._tell({"role": "tool", "tool_call_id": item.call_id, "content": text})


def _words(item: InputMessage | OutputMessage) -> str:
    return "\n".join(part.refusal if isinstance(part, Refusal) else part.text for part in item.content)
