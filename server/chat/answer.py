"""One answer as events: its text through the splitter of thoughts, and the rest through the tool parser."""

import json
from collections.abc import Iterable

from .events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from .reasoning import ReasoningSplitter
from .tools.base import ToolParser


class AnswerParser:
    """Reads one continuation as it comes. Without a splitter and a parser all of it is text."""

    def __init__(
        self,
        reasoning: ReasoningSplitter | None = None,
        tools: ToolParser | None = None,
        *,
        forced: bool = False,
    ) -> None:
        """`forced`: a grammar lets the answer be calls and nothing else."""
        self._forced = forced
        self._reasoning = reasoning
        self._tools = tools
        self._called = False
        self._arguments: list[str] = []  # of the last call

    @property
    def called(self) -> bool:
        """Whether the answer has called a tool."""
        return self._called

    @property
    def complete(self) -> bool:
        """Whether the last call, if there is one, has all its arguments: those of one that was cut are no JSON."""
        try:
            json.loads("".join(self._arguments), strict=False)  # models write line breaks into strings as they are
        except (ValueError, RecursionError):
            return not self._called
        return True

    def push(self, text: str) -> list[ChatEvent]:
        """The events that are certain now, none of them empty."""
        split: list[ChatEvent] = [Text(text)] if self._reasoning is None else self._reasoning.push(text)
        return self._emit(self._read(split))

    def finish(self) -> list[ChatEvent]:
        """The end of the answer: what was held back."""
        events = self._read(self._reasoning.finish() if self._reasoning else [])
        if self._tools:
            rest = self._tools.finish()
            # What is left of a forced answer is a call that was cut before its name: no text for anybody to read.
            events += [event for event in rest if not (self._forced and isinstance(event, Text))]
        return self._emit(events)

    def _read(self, split: list[ChatEvent]) -> list[ChatEvent]:
        if self._tools is None:
            return split
        events: list[ChatEvent] = []
        for event in split:
            events += self._tools.push(event.text) if isinstance(event, Text) else [event]
        return events

    def _emit(self, events: list[ChatEvent]) -> list[ChatEvent]:
        joined = join(events)
        for event in joined:
            match event:
                case CallBegun():
                    self._called, self._arguments = True, []
                case CallArguments(_, text):
                    self._arguments.append(text)
        return joined


def join(events: Iterable[ChatEvent]) -> list[ChatEvent]:
    """The events with neighbours of one kind joined, and without empty ones."""
    joined: list[ChatEvent] = []
    for event in events:
        if not isinstance(event, CallBegun) and not event.text:
            continue
        match joined[-1:], event:
            case [Text(before)], Text(text):
                joined[-1] = Text(before + text)
            case [Reasoning(before)], Reasoning(text):
                joined[-1] = Reasoning(before + text)
            case [CallArguments(index, before)], CallArguments(same, text) if index == same:
                joined[-1] = CallArguments(index, before + text)
            case _:
                joined.append(event)
    return joined
