"""Messages of Ollama's API, and what they are in OpenAI's shape, which all else here speaks. Pure."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..schemas.common import Text

Told = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class CalledFunction(_Body):
    name: Text
    arguments: dict[str, Any] = {}


class CallBody(_Body):
    id: Text | None = None
    function: CalledFunction


class Message(_Body):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text | None = None
    thinking: Text | None = None
    images: list[Any] | None = None
    tool_calls: Annotated[list[CallBody], Field(max_length=128)] | None = None
    tool_name: Text | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if self.images:
            raise ValueError("images: this server reads text only; leave them out")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls: a {self.role} message cannot call tools")
        return self


def messages_of(messages: list[Message]) -> list[Told]:
    """The conversation. Ollama's results name a tool, OpenAI's a call: the first one of that tool without a result."""
    told: list[Told] = []
    waiting: list[tuple[str, str]] = []  # calls without a result: id and name
    count = 0
    for message in messages:
        turn: Told = {"role": message.role, "content": message.content or ""}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [_call(call, count + place) for place, call in enumerate(message.tool_calls)]
            count += len(calls)
            waiting = [(call["id"], call["function"]["name"]) for call in calls]
            turn["tool_calls"] = calls
        if message.role == "tool":
            turn |= _answered(message, waiting)
        told.append(turn)
    return told


def _call(call: CallBody, number: int) -> Told:
    arguments = json.dumps(call.function.arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": function}


def _answered(message: Message, waiting: list[tuple[str, str]]) -> Told:
    """Which call a result is of, which waits no longer. A result of no call that is known says its tool only."""

    def matches(call_id: str, name: str) -> bool:
        return call_id == message.tool_call_id if message.tool_call_id else message.tool_name in (None, name)

    found = next((call for call in waiting if matches(*call)), None)
    if found:
        waiting.remove(found)
    call_id, name = found or (message.tool_call_id, message.tool_name)
    said = {"tool_call_id": call_id, "name": message.tool_name or name}
    return {field: value for field, value in said.items() if value}
