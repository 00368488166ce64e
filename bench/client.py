"""A load client that costs little, since it shares the cores with what it measures: raw HTTP/1.1 over a selector."""

import json
import selectors
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.workload import Workload


@dataclass(slots=True)
class Stream:
    """One stream: what has come of it last, and when its events came, in seconds from the start of the run."""

    connection: socket.socket
    received: bytes = b""
    events: list[float] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """What the server counted, from the usage event. Raises RuntimeError if there was none."""
        _, _, usage = self.received.rpartition(b'"usage":')
        if b"}}" not in usage:
            raise RuntimeError(self.received.decode(errors="replace"))
        return int(json.loads(usage[: usage.index(b"}}") + 2])["completion_tokens"])


def run(url: str, model: str, workload: Workload) -> tuple[float, list[Stream]]:
    """Seconds until the last stream has ended, and the streams."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    began = time.perf_counter()
    streams = [_open(address, _body(model, prompt, workload.tokens)) for prompt in workload.prompts]
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        while selector.get_map():
            for key, _ in selector.select():
                if not _read(key.data, began):
                    selector.unregister(key.data.connection)
                    key.data.connection.close()
    return time.perf_counter() - began, streams


def _open(address: tuple[str, int], body: bytes) -> Stream:
    connection = socket.create_connection(address)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return Stream(connection)


def _read(stream: Stream, began: float) -> bool:
    """Take what is there; False at the end of the stream."""
    part = stream.connection.recv(1 << 16)
    stream.events += [time.perf_counter() - began] * part.count(b"data: {")
    stream.received = stream.received[-2000:] + part
    return bool(part)


def _body(model: str, prompt: str, tokens: int) -> bytes:
    request = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(request).encode()
