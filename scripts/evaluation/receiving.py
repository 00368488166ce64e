"""What a server sends, read within bounds: one that streams without an end, or gigabytes, holds nobody up."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

from server.errors import CupolaError

LARGEST = 16 << 20  # bytes; a million tokens of text are a quarter of it
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # what reading it as JSON may raise
TOKENS = range(1 << 31)  # that an answer can have


def received(response: httpx.Response, deadline: float) -> httpx.Response:
    """The whole of it, without what was said of the bytes on the way. Raises CupolaError, httpx.RequestError."""
    after = response.headers.get("retry-after")
    headers = {} if after is None else {"retry-after": after}
    return httpx.Response(response.status_code, headers=headers, content=b"".join(_parts(response, deadline)))


class Stream:
    """An answer as it is streamed; times are in seconds from here on. `tokens` is None where nobody counts."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.text, self.finish = "", ""
        self.tokens: int | None = None
        self.first: float | None = None
        self.seconds = 0.0

    def read(self, response: httpx.Response, deadline: float) -> None:
        """To its end. Raises one of MALFORMED, CupolaError, and httpx.RequestError where it breaks off."""
        ended = False
        for event in _events(response, deadline):
            if event is None:
                ended = True
                break
            for choice in event.get("choices") or ():
                self._take(choice["delta"].get("content") or "", choice.get("finish_reason"))
            counted = (event.get("usage") or {}).get("completion_tokens")
            self.tokens = counted if isinstance(counted, int) and counted in TOKENS else self.tokens
        if not ended and not self.finish:  # kept, it would be an answer that nobody gave
            raise httpx.RemoteProtocolError("the stream ended before its answer did")
        self.seconds = time.perf_counter() - self._began

    def _take(self, part: str, finish: str | None) -> None:
        if part and self.first is None:
            self.first = time.perf_counter() - self._began
        self.text, self.finish = self.text + part, finish or self.finish


def _events(response: httpx.Response, deadline: float) -> Iterator[dict[str, Any] | None]:
    """The JSON of each event, and None for the end. Raises CupolaError for an error that the server streams."""
    for line in _lines(_parts(response, deadline)):
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            yield None
            return
        event = json.loads(data)
        if event.get("error"):
            raise CupolaError(f"The server broke off: {str(event['error'])[:200]}")
        yield event


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    yield rest


def _parts(response: httpx.Response, deadline: float) -> Iterator[bytes]:
    """As they come. Raises CupolaError for too much, and httpx.ReadTimeout where it takes too long in all."""
    until, size = time.monotonic() + deadline, 0
    for part in response.iter_bytes():
        size += len(part)
        if size > LARGEST:
            raise CupolaError(f"{response.url} answers with more than {LARGEST >> 20} MB.")
        if time.monotonic() > until:
            raise httpx.ReadTimeout(f"an answer had no end after {deadline:g} seconds")
        yield part
