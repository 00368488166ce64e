"""One request of the Responses API and its answer: whole, or as a stream."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from pydantic import BaseModel

from ...errors import CupolaError
from ..conversation import Conversation, Turn
from ..schemas.responses_answer import ResponseBody
from ..schemas.responses_items import Item
from ..sse import Dialect
from .growing import Event
from .store import Kept, ResponseStore
from .writer import Writer

# The last event says how a response ended, so nothing follows it.
DIALECT = Dialect(end=b"")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, ready to be answered. `items` is all it goes on from; the last `sent` of them are its own."""

    conversation: Conversation
    items: list[Item]
    sent: int
    draft: ResponseBody

    def keep(self, store: ResponseStore, response: ResponseBody) -> None:
        if response.store:
            store.put(response.id, Kept.of(response, self.items, self.sent))


async def progress(writer: Writer, turns: AsyncGenerator[Turn]) -> AsyncGenerator[Event]:
    """All events but the last one. Until the first turn is there nothing has happened."""
    async with aclosing(turns):
        async for turn in turns:
            if not writer.begun:
                for event in writer.begin():
                    yield event
            for event in writer.add(turn):
                yield event


async def whole(exchange: Exchange, turns: AsyncGenerator[Turn], store: ResponseStore) -> ResponseBody:
    """The plain answer is the stream, collected. A failure is an error of the request."""
    writer = Writer(exchange.draft)
    async for _ in progress(writer, turns):
        pass
    exchange.keep(store, writer.response)
    return writer.response


async def stream(exchange: Exchange, turns: AsyncGenerator[Turn], store: ResponseStore) -> AsyncGenerator[bytes]:
    """The events. The response is kept before its last event, since a client may go on from it at once. When the
    client leaves before, what there is is kept: it knows the id."""
    writer, frames = Writer(exchange.draft), Frames()
    try:
        async with aclosing(progress(writer, turns)) as events:
            async for event in events:
                yield frames.encode(event)
    except CupolaError as error:
        if not writer.begun:
            raise
        writer.fail(error)
    except (asyncio.CancelledError, GeneratorExit):  # while a turn is awaited, while an event is sent
        if writer.begun:
            writer.cancel()
            exchange.keep(store, writer.response)
        raise
    exchange.keep(store, writer.response)
    yield frames.encode(writer.end())


class Frames:
    """Writes events as server-sent events, numbered from 0."""

    def __init__(self) -> None:
        self._number = 0

    def encode(self, event: Event) -> bytes:
        fields = {"type": event.type, "sequence_number": self._number, **event.fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (event.type.encode(), msgspec.json.encode(fields, enc_hook=_model))


def _model(value: object) -> msgspec.Raw:
    assert isinstance(value, BaseModel)
    return msgspec.Raw(value.__pydantic_serializer__.to_json(value))
