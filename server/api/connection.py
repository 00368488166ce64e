"""A client's connection: one that does not send its request, or does not read its answer, is ended after a deadline."""

import asyncio
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedConnection(H11Protocol):
    """Uvicorn's HTTP/1.1, plus a deadline from the first moment of a request to its last byte, and one for each time
    that the client stops reading: it would keep its model in use for ever.

    Uvicorn itself bounds only the pause between two requests. h11 rather than httptools, since it limits the size of
    headers and refuses a second Host header.
    """

    def __init__(self, *arguments: Any, request_seconds: float, stall_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._request_seconds = request_seconds
        self._stall_seconds = stall_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._read_again()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The buffers towards the client are full."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._stall_seconds, self._give_up)

    def resume_writing(self) -> None:
        self._read_again()
        super().resume_writing()

    def _read_again(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _watch(self) -> None:
        """Keep the deadline running while a request is arriving, and only then."""
        state = self.conn.their_state
        # Before the first request `cycle` is None; the pause between two is uvicorn's to bound.
        begun = self.cycle is None or bool(self.conn.trailing_data[0])  # type: ignore[redundant-expr]
        if state is not h11.SEND_BODY and not (state is h11.IDLE and begun):
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._request_seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = self._stall = None
        self.transport.abort()


def bounded(request_seconds: float, stall_seconds: float) -> Any:
    """What uvicorn takes for `http=`: a maker of connections."""
    return partial(BoundedConnection, request_seconds=request_seconds, stall_seconds=stall_seconds)
