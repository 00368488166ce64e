"""What the tests of tool formats share: tools, parsers with ids that can be told, and answers folded from events."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.chat.answer import join
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.chat.tools import deepseek, functionary, generic, hermes, llama3, mistral, phi4
from server.chat.tools.base import Tool, ToolParser
from server.chat.tools.written import WrittenFormat

WEATHER = Tool(
    "get_weather",
    "The weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
TIME = Tool("get_time", "The time")
LONGER = Tool("get_weather_of_week")
TOOLS = (WEATHER, TIME, LONGER)
ALL: tuple[WrittenFormat, ...] = (
    hermes.FORMAT,
    generic.FORMAT,
    llama3.FORMAT,
    mistral.FORMAT,
    mistral.NAMED,
    phi4.FORMAT,
    functionary.FORMAT,
    functionary.RECIPIENTS,
    deepseek.FORMAT,
)


@dataclass
class Answer:
    """What events amount to."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def fold(events: Iterable[ChatEvent]) -> Answer:
    answer = Answer()
    for event in events:
        match event:
            case Text(text):
                answer.text += text
            case Reasoning(text):
                answer.reasoning += text
            case CallBegun(index, call_id, name):
                assert index == len(answer.calls)
                answer.ids.append(call_id)
                answer.calls.append((name, ""))
            case CallArguments(index, text):
                assert index == len(answer.calls) - 1
                answer.calls[index] = (answer.calls[index][0], answer.calls[index][1] + text)
    return answer


def events_of(parser: ToolParser, pieces: Iterable[str]) -> list[ChatEvent]:
    events = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
    assert all(isinstance(event, CallBegun) or event.text for event in events)
    return events


def parser_of(form: WrittenFormat, tools: Sequence[Tool] = TOOLS) -> ToolParser:
    numbers = itertools.count()
    return form.parser(tools, lambda: f"id{next(numbers)}")


def parse(form: WrittenFormat, *pieces: str, tools: Sequence[Tool] = TOOLS) -> Answer:
    return fold(events_of(parser_of(form, tools), pieces))


def joined(form: WrittenFormat, pieces: Iterable[str], tools: Sequence[Tool] = TOOLS) -> list[ChatEvent]:
    return join(events_of(parser_of(form, tools), pieces))


def write(form: WrittenFormat, calls: Sequence[tuple[str, str]]) -> str:
    """The calls as a model of this format writes them."""
    shape = form.shape
    written = [
        shape.begin + (json.dumps(name)[1:-1] if shape.quoted else name) + shape.middle + arguments + shape.close
        for name, arguments in calls
    ]
    groups = [shape.between.join(written)] if shape.listed else written
    between = "" if shape.listed else shape.between
    return between.join(shape.marker + shape.opening + group + shape.closing + shape.end for group in groups)


def arguments_of(answer: Answer) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in answer.calls]
