"""Turns as a message of Anthropic's API: its events, and what it is at the end. Pure."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response

from ...chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from ...errors import CupolaError
from ...types import Usage
from ..arguments import UNREAD, as_object
from ..conversation import Turn
from ..error_shapes import anthropic
from ..errors import detail_of, error_response
from ..sse import Dialect
from .answer import Content, MessageBody, MessageUsage, StopReason, TextContent, ThinkingContent, ToolUseContent

Event = dict[str, Any]

QUIET = 32  # turns of a call that is being written, after which a ping says that the server is at work


class Writer:
    """Writes one message: `begin`, then `add` for each turn.

    One block is open at a time. The input of a call is sent whole and valid when the call is complete, as Anthropic
    does unless told otherwise: clients fail on a half one. Each iterator is to be read to its end.
    """

    def __init__(self, message_id: str, model: str, limit: int, *, hides_thoughts: bool = False) -> None:
        self.message = MessageBody(id=message_id, model=model)
        self._limit = limit
        self._hides = hides_thoughts
        self._open: Content | None = None
        self._pieces: list[str] = []
        self._quiet = 0

    def begin(self) -> Iterator[Event]:
        """The start. Tokens are counted at the end: before, nobody knows how many of the prompt were reused."""
        yield {"type": "message_start", "message": self.message.model_dump()}

    def add(self, turn: Turn) -> Iterator[Event]:
        """What a turn adds; the last one ends the message."""
        for event in turn.events:
            yield from self._said(event)
        if isinstance(self._open, ToolUseContent):
            self._quiet += 1
            if self._quiet % QUIET == 0:
                yield {"type": "ping"}
        if turn.finish and turn.usage:
            yield from self._close()
            self.message.stop_reason = _reason(turn, turn.usage, self._limit)
            self.message.stop_sequence = turn.stop
            self.message.usage = _usage(turn.usage)
            stopped = self.message.model_dump(include={"stop_reason", "stop_sequence"})
            yield {"type": "message_delta", "delta": stopped, "usage": self.message.usage.model_dump()}
            yield {"type": "message_stop"}

    def _said(self, event: ChatEvent) -> Iterator[Event]:
        match event:
            case Text(text) if text:
                if not isinstance(self._open, TextContent):
                    yield from self._next(TextContent(text=""))
                yield self._more("text_delta", "text", text)
            case Reasoning(text) if text:
                if not isinstance(self._open, ThinkingContent):
                    yield from self._next(ThinkingContent(thinking=""))
                if not self._hides:
                    yield self._more("thinking_delta", "thinking", text)
            case CallBegun(_, call_id, name):
                yield from self._next(ToolUseContent(id=call_id, name=name, input={}))
            case CallArguments(_, text):
                assert isinstance(self._open, ToolUseContent), "arguments follow their call"
                self._pieces.append(text)

    def _next(self, block: Content) -> Iterator[Event]:
        yield from self._close()
        self._open, self._pieces, self._quiet = block, [], 0
        yield {"type": "content_block_start", "index": self._index, "content_block": block.model_dump()}

    def _more(self, kind: str, field: str, text: str) -> Event:
        self._pieces.append(text)
        return self._delta(kind, field, text)

    def _close(self) -> Iterator[Event]:
        """The end of the open block, if there is one, which is part of the message from now on."""
        said = "".join(self._pieces)
        match self._open:
            case None:
                return
            case TextContent():
                self._open.text = said
            case ThinkingContent():
                self._open.thinking = said
                yield self._delta("signature_delta", "signature", "")
            case ToolUseContent():
                self._open.input = as_object(said)
                # As the model wrote it, where that can be read: a number may have more digits than we keep.
                readable = said.strip() and UNREAD not in self._open.input
                whole = said if readable else msgspec.json.encode(self._open.input).decode()
                yield self._delta("input_json_delta", "partial_json", whole)
        yield {"type": "content_block_stop", "index": self._index}
        self.message.content.append(self._open)
        self._open, self._pieces = None, []

    @property
    def _index(self) -> int:
        return len(self.message.content)

    def _delta(self, kind: str, field: str, text: str) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, field: text}}


def _reason(turn: Turn, usage: Usage, limit: int) -> StopReason:
    match turn.finish:
        case "tool_calls":
            return "tool_use"
        case "length":
            return "max_tokens" if usage.completion_tokens >= limit else "model_context_window_exceeded"
        case _:
            return "end_turn" if turn.stop is None else "stop_sequence"


def _usage(usage: Usage) -> MessageUsage:
    return MessageUsage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )


async def whole(writer: Writer, turns: AsyncGenerator[Turn]) -> MessageBody:
    """The plain answer is the stream, collected."""
    async with aclosing(turns):
        async for turn in turns:
            for _ in writer.add(turn):
                pass
    return writer.message


async def stream(writer: Writer, turns: AsyncGenerator[Turn]) -> AsyncGenerator[bytes]:
    """The events. Nothing is said before the first turn, so that an error before it is an HTTP status."""
    begun = False
    async with aclosing(turns):
        async for turn in turns:
            if not begun:
                begun = True
                for event in writer.begin():
                    yield encode(event)
            if written := b"".join(map(encode, writer.add(turn))):
                yield written


def encode(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def _failed(error: CupolaError) -> bytes:
    return encode(anthropic(error.status, detail_of(error)))


def _refused(error: CupolaError) -> Response:
    return error_response(error, anthropic)


# `message_stop` ends a stream, so nothing follows it.
DIALECT = Dialect(end=b"", failure=_failed, refusal=_refused)
