"""Phi-4-mini and Granite 3: a list behind a marker.

    <|tool_call|>[{"name": "temperature", "arguments": {"city": "Bern"}}]<|/tool_call|>
    functools[{"name": "temperature", "arguments": {"city": "Bern"}}]

Phi-4-mini's own template wants the tools as text in the system message, and past calls as text too.
"""

import json
from collections.abc import Sequence
from typing import Any

from .base import Messages, Tool
from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat


class Phi4Format(WrittenFormat, frozen=True):
    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        if "message['tools']" not in template and 'message["tools"]' not in template:
            return super().conversation(messages, tools, template)
        written = [_with_calls(message) for message in messages]
        if tools:
            if written[:1] == [] or written[0]["role"] != "system":
                written.insert(0, {"role": "system", "content": ""})
            functions = [tool.for_template()["function"] for tool in tools]
            written[0] = written[0] | {"tools": json.dumps(functions, ensure_ascii=False)}
        return written, None


def _with_calls(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its calls written into its text."""
    if not message.get("tool_calls"):
        return message
    calls = [call["function"] for call in message["tool_calls"]]
    written = json.dumps([{"name": call["name"], "arguments": call["arguments"]} for call in calls], ensure_ascii=False)
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return kept | {"content": f"{message['content']}<|tool_call|>{written}<|/tool_call|>"}


FORMAT = Phi4Format(
    "phi4",
    Layout(
        openings=(Opening("<|tool_call|>", "<|/tool_call|>"), Opening("functools")),
        bare=Opening("", sure=False),
    ),
    Shape(
        marker="<|tool_call|>",
        opening="[",
        begin='{"name": "',
        middle='", "arguments": ',
        close="}",
        between=", ",
        closing="]",
        end="<|/tool_call|>",
        listed=True,
    ),
    marks=("<|tool|>", "<|tool_call|>", "functools"),
    shown=("<|tool_call|>", "<|/tool_call|>"),
)
