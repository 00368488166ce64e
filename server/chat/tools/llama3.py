"""Llama 3: an answer that is an object, with no mark but an optional token before it.

    <|python_tag|>{"name": "temperature", "parameters": {"city": "Bern"}}

Several calls are written with `; ` between them. An object of anything else, or of a function that is not among the
tools, is text.
"""

from collections.abc import Sequence
from typing import Any

from .base import Messages, Tool
from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat


class Llama3Format(WrittenFormat, frozen=True):
    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        if "only supports single tool-calls" in template:
            messages = one_call_each(messages)
        return super().conversation(messages, tools, template)


def one_call_each(messages: Messages) -> Messages:
    """The conversation as if calls that were made together had been made one after the other, each with its result."""
    told: Messages = []
    waiting: Messages = []  # calls whose results have not come yet, as messages
    for message in messages:
        calls = message.get("tool_calls") or []
        if message["role"] == "tool" and waiting:
            asked = [turn for turn in waiting if turn["tool_calls"][0].get("id") == message.get("tool_call_id")]
            turn = (asked or waiting)[0]
            waiting = [other for other in waiting if other is not turn]
            told += [turn, message]
        elif len(calls) > 1:
            told += waiting
            waiting = [message | {"tool_calls": [call]} for call in calls]
        else:
            told += [*waiting, message]
            waiting = []
    return told + waiting


FORMAT = Llama3Format(
    "llama3",
    Layout(openings=(Opening("<|python_tag|>"),), bare=Opening("", sure=False)),
    Shape(begin='{"name": "', middle='", "parameters": ', close="}", between="; ", listed=True),
    marks=("<|python_tag|>", '"parameters": dictionary'),
    shown=("<|python_tag|>",),
)
