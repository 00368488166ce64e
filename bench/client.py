"""A load client that costs little: raw HTTP/1.1 over asyncio, since it shares the cores with what it measures."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.workload import Workload


@dataclass(slots=True)
class Stream:
    """Arrival times of the events of one stream, in seconds from the start of the run."""

    events: list[float] = field(default_factory=list)
    tokens: int = 0


async def _stream(host: str, port: int, body: bytes, began: float) -> Stream:
    reader, writer = await asyncio.open_connection(host, port)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    result = Stream()
    received = b""
    while part := await reader.read(1 << 16):
        result.events += [time.perf_counter() - began] * part.count(b"data: {")
        received = received[-2000:] + part
    writer.close()
    _, _, usage = received.rpartition(b'"usage":')
    if not usage:
        raise RuntimeError(received.decode())
    result.tokens = json.loads(usage[: usage.index(b"}}") + 2])["completion_tokens"]
    return result


async def _run(url: str, model: str, workload: Workload) -> tuple[float, list[Stream]]:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    bodies = [
        json.dumps(
            {
                "model": model,
                "prompt": prompt,
                "max_tokens": workload.tokens,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        for prompt in workload.prompts
    ]
    began = time.perf_counter()
    streams = await asyncio.gather(*(_stream(host, port, body, began) for body in bodies))
    return time.perf_counter() - began, list(streams)


def run(url: str, model: str, workload: Workload) -> tuple[float, list[Stream]]:
    """Seconds until the last stream has ended, and the streams."""
    return asyncio.run(_run(url, model, workload))
