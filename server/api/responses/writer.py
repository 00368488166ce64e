"""Turns as a response: its events, and what it is at any moment. Pure, but for ids and the time of the end."""

from collections.abc import Iterator
from datetime import UTC, datetime

from ...chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from ...errors import CupolaError
from ...types import TokenLogprob
from ..conversation import Turn
from ..schemas.responses_answer import IncompleteDetails, ResponseBody, ResponseErrorBody, ResponseUsage
from ..schemas.responses_items import OutputItem, Status
from .growing import Event, Growing, GrowingCall, GrowingMessage, GrowingReasoning

Scored = tuple[TokenLogprob, ...]


class Writer:
    """Writes one response. `begin`, `add` for each turn, and after the last one, or `fail` or `cancel`, `end`.

    One item is open at a time: whatever belongs to another one ends it. Events are made as they are asked for, so each
    iterator is to be read to its end.
    """

    def __init__(self, draft: ResponseBody) -> None:
        self._response = draft
        self._whole: list[OutputItem] = []
        self._open: Growing | None = None
        self._call = -1
        self._held: Scored = ()  # log-probabilities of tokens whose text has not come yet
        self._thought = 0  # tokens

    @property
    def begun(self) -> bool:
        return self._response.status != "queued"

    @property
    def response(self) -> ResponseBody:
        """The response as it is now; later turns do not change it."""
        status: Status = "in_progress" if self._response.status == "in_progress" else "incomplete"
        unfinished = [self._open.item(status)] if self._open else []
        return self._response.model_copy(update={"output": [*self._whole, *unfinished]})

    def begin(self) -> Iterator[Event]:
        self._response.status = "in_progress"
        yield Event("response.created", {"response": self.response})
        yield Event("response.in_progress", {"response": self.response})

    def add(self, turn: Turn) -> Iterator[Event]:
        """What a turn adds. Log-probabilities go with the first text, and those of thoughts and calls nowhere."""
        self._held += turn.logprobs
        if turn.events and not any(isinstance(event, Text) for event in turn.events):
            self._held = ()
        for event in turn.events:
            yield from self._said(event)
        if isinstance(self._open, GrowingReasoning):
            self._thought += turn.tokens
        if turn.finish:
            yield from self._finish(turn)

    def fail(self, error: CupolaError) -> None:
        self._response.status = "failed"
        self._response.error = ResponseErrorBody.of(error)

    def cancel(self) -> None:
        """Say that nobody wants more of it. One that has ended stays as it is."""
        if self._response.status in ("queued", "in_progress"):
            self._response.status = "cancelled"

    def end(self) -> Event:
        """The last event: response.completed, response.incomplete or response.failed."""
        return Event(f"response.{self._response.status}", {"response": self.response})

    def _said(self, event: ChatEvent) -> Iterator[Event]:
        match event:
            case Text(text) if text:
                if not isinstance(self._open, GrowingMessage):
                    yield from self._next(GrowingMessage(self._place))
                yield from self._text(text)
            case Reasoning(text) if text:
                if not isinstance(self._open, GrowingReasoning):
                    yield from self._next(GrowingReasoning(self._place))
                assert isinstance(self._open, GrowingReasoning)
                yield from self._open.more(text)
            case CallBegun(index, call_id, name):
                self._call = index
                yield from self._next(GrowingCall(self._place, call_id, name))
            case CallArguments(index, text) if text:
                assert isinstance(self._open, GrowingCall), "arguments follow their call"
                assert index == self._call, "one call is read after the other"
                yield from self._open.more(text)

    @property
    def _place(self) -> int:
        """Where the item behind the open one stands."""
        return len(self._whole) + (self._open is not None)

    def _text(self, text: str) -> Iterator[Event]:
        assert isinstance(self._open, GrowingMessage)
        held, self._held = self._held, ()
        yield from self._open.more(text, held)

    def _next(self, item: Growing, status: Status = "completed") -> Iterator[Event]:
        yield from self._close(status)
        self._open = item
        yield from item.begin()

    def _close(self, status: Status) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(status)
            self._whole.append(self._open.item(status))
            self._open = None

    def _finish(self, turn: Turn) -> Iterator[Event]:
        """An answer without a word is an empty message. Held log-probabilities belong to a message only."""
        assert turn.usage is not None
        cut = turn.finish == "length"
        if not self._place:
            yield from self._next(GrowingMessage(0))
        if self._held and isinstance(self._open, GrowingMessage):
            yield from self._text("")
        yield from self._close("incomplete" if cut else "completed")
        self._response.status = "incomplete" if cut else "completed"
        if cut:
            self._response.incomplete_details = IncompleteDetails()
        else:
            self._response.completed_at = int(datetime.now(UTC).timestamp())
        self._response.usage = ResponseUsage.of(turn.usage, self._thought)
