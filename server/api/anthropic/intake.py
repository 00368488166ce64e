"""Messages of Anthropic's API as messages in OpenAI's shape, which all else here speaks. Pure."""

import json
from typing import Any

from ...errors import InvalidValue
from .blocks import Message, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, text_of

Told = dict[str, Any]


def messages_of(system: list[TextBlock] | None, messages: list[Message]) -> list[Told]:
    """The whole conversation. Turns of one role that follow each other are one, as Anthropic has it, and templates
    that insist on alternation need. Raises InvalidValue for blocks that their role cannot have."""
    told: list[Told] = []
    if said := text_of(system):
        told.append({"role": "system", "content": said})
    for place, message in enumerate(messages):
        if message.role == "assistant":
            _merge(told, _answer(message, place))
        else:
            for turn in _asked(message, place):
                _merge(told, turn)
    return told


def _merge(told: list[Told], turn: Told) -> None:
    last = told[-1] if told else None
    if last is None or last["role"] != turn["role"] or turn["role"] == "tool":
        told.append(turn)
        return
    last["content"] = "\n".join(filter(None, (last["content"], turn["content"])))
    if thought := turn.get("reasoning_content"):
        last["reasoning_content"] = "\n".join(filter(None, (last.get("reasoning_content"), thought)))
    if calls := turn.get("tool_calls"):
        last["tool_calls"] = [*last.get("tool_calls", ()), *calls]


def _answer(message: Message, place: int) -> Told:
    """A turn of the assistant: what it thought, said and called. Redacted thoughts cannot be told to another model."""
    said: list[str] = []
    thought: list[str] = []
    calls: list[Told] = []
    for block in message.content:
        match block:
            case TextBlock(text=text):
                said.append(text)
            case ThinkingBlock(thinking=text):
                thought.append(text)
            case ToolUseBlock():
                function = {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)}
                calls.append({"id": block.id, "type": "function", "function": function})
            case ToolResultBlock():
                raise _misplaced(place, block.type, "assistant")
    turn: Told = {"role": "assistant", "content": "\n".join(said)}
    if any(thought):
        turn["reasoning_content"] = "\n".join(thought)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _asked(message: Message, place: int) -> list[Told]:
    """A turn of the user: results of tools, each a message of its own, and text."""
    turns: list[Told] = []
    for block in message.content:
        match block:
            case TextBlock(text=text):
                _merge(turns, {"role": message.role, "content": text})
            case ToolResultBlock() if message.role == "user":
                turns.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block)})
            case _:
                raise _misplaced(place, block.type, message.role)
    return turns


def _result(block: ToolResultBlock) -> str:
    """The text of a result. Templates have no word for one that is an error, so it says so itself."""
    text = text_of(block.content)
    return f"Error: {text}" if block.is_error and not text.lower().startswith("error") else text


def _misplaced(place: int, kind: str, role: str) -> InvalidValue:
    param = f"messages.{place}.content"
    return InvalidValue(f"{param}: a message of the {role} cannot have a block of type '{kind}'.", param=param)
