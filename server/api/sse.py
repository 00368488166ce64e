"""Server-sent events: a response whose status is decided by the first event, and that ends when the client leaves."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import CupolaError
from .accounting import account
from .cancel import ClientGone, while_connected
from .errors import error_body, error_response

Event = TypeVar("Event")

DONE = b"data: [DONE]\n\n"


def encode(event: BaseModel) -> bytes:
    """One event as bytes; fields that were not set are not sent."""
    return b"data: " + event.__pydantic_serializer__.to_json(event, exclude_unset=True) + b"\n\n"


class TextEvents:
    """The events of a stream that differ in their text only: made once by the schema, then cut at the text.

    Validating and writing a whole event for each token took a sixth of the server's time at one stream.
    """

    _PLACE = "\ue000"  # a private-use character, which no name or id contains

    def __init__(self, event: Callable[[str], BaseModel]) -> None:
        self._event = event

    def encode(self, text: str) -> bytes:
        head, tail = self._around
        return head + msgspec.json.encode(text) + tail

    @cached_property
    def _around(self) -> tuple[bytes, bytes]:
        """Made with the first text: only then is it known which variant answers."""
        head, tail = encode(self._event(self._PLACE)).split(f'"{self._PLACE}"'.encode())
        return head, tail


def _failed(error: CupolaError) -> bytes:
    return b"data: " + error_body(error).model_dump_json().encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an API frames a stream: what ends it, what an error in its midst is, and what one before it is answered."""

    media_type: str = "text/event-stream"
    end: bytes = DONE
    failure: Callable[[CupolaError], bytes] = _failed
    refusal: Callable[[CupolaError], Response] = error_response


OPENAI = Dialect()


class EventStream(Response):
    """Writes encoded events, then what ends a stream in its dialect.

    Nothing is sent until the first event is there, so an error before it is an ordinary error response. A later error
    is an event of its own, and no end follows: the client must not take half an answer for a whole one.
    """

    def __init__(self, events: AsyncGenerator[bytes], dialect: Dialect = OPENAI) -> None:
        super().__init__(
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}, media_type=dialect.media_type
        )
        del self.headers["content-length"]
        self._events = events
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._run(scope, receive, send))
        except ClientGone:
            return

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events) as events:
            try:
                first = await anext(events)
            except CupolaError as error:
                await self._dialect.refusal(error)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _write(send, first)
            try:
                async for event in events:
                    await _write(send, event)
                if self._dialect.end:
                    await _write(send, self._dialect.end)
            except CupolaError as error:
                account().error = error.code
                await _write(send, self._dialect.failure(error))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
