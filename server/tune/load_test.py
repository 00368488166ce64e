"""A load test of a server that speaks OpenAI's API: so many streams at a time, and how long each part of them took."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PERCENTILES = (50, 90, 99)
TIMEOUT = httpx.Timeout(600.0, connect=10.0)
WORDS = tuple(
    "river stone market window garden letter winter copper harbour meadow silver engine thunder basket lantern orchard"
    " compass feather island journey".split()
)


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask: `requests` streams, `concurrency` at a time; prompts of about `prompt` tokens.

    The prompts are numbered from `first` on, and no two numbers have the same: what was asked before is in caches.
    """

    url: str
    model: str
    concurrency: int
    requests: int
    prompt: int
    generate: int
    key: str | None = None
    first: int = 0


@dataclass(slots=True)
class Stream:
    """One request: seconds of its events from its start, what the server counted, and why it failed if it did."""

    events: list[float] = field(default_factory=list)
    seconds: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0
    error: str | None = None

    @property
    def gaps(self) -> Iterable[float]:
        return (after - before for before, after in zip(self.events, self.events[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an order. Times are of the streams without an error, in seconds."""

    concurrency: int
    requests: int
    errors: dict[str, int]
    seconds: float
    prompt_tokens: int
    tokens: int
    first_token: dict[str, float]
    inter_token: dict[str, float]
    end_to_end: dict[str, float]

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def requests_per_second(self) -> float:
        return (self.requests - sum(self.errors.values())) / self.seconds


async def run(order: Order, tell: Callable[[int], None]) -> Report:
    """Ask, and report. `tell` hears how many streams have ended."""
    headers = {"Authorization": f"Bearer {order.key}"} if order.key else {}
    limits = httpx.Limits(max_connections=order.concurrency, max_keepalive_connections=order.concurrency)
    waiting, streams = iter(range(order.first, order.first + order.requests)), list[Stream]()

    async with httpx.AsyncClient(
        base_url=order.url, headers=headers, limits=limits, timeout=TIMEOUT, trust_env=False
    ) as client:

        async def ask_in_turn() -> None:
            for number in waiting:
                streams.append(await _ask(client, order, number))
                tell(len(streams))

        began = time.perf_counter()
        await asyncio.gather(*(ask_in_turn() for _ in range(order.concurrency)))
        return report(order, streams, time.perf_counter() - began)


async def _ask(client: httpx.AsyncClient, order: Order, number: int) -> Stream:
    """One stream to its end; what fails is counted and does not end the test."""
    stream, began = Stream(), time.perf_counter()
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body(order, number)) as answer:
            if answer.is_error:
                stream.error = refusal(answer.status_code, await answer.aread())
            async for line in answer.aiter_lines():
                if stream.error is None and line.startswith("data: "):
                    _note(stream, line[6:], time.perf_counter() - began)
    except httpx.HTTPError as error:
        stream.error = type(error).__name__
    stream.seconds = time.perf_counter() - began
    if stream.error is None and not stream.events:
        stream.error = "no token"
    return stream


def refusal(status: int, content: bytes) -> str:
    """An answer that is no stream: its status, and the code of the error where there is one."""
    try:
        code = json.loads(content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    return f"status {status} {code}" if code else f"status {status}"


def body(order: Order, number: int) -> dict[str, Any]:
    """The request. Each prompt begins with another word, so that nothing of it is known from another one."""
    words = random.Random(number).choices(WORDS, k=order.prompt)  # noqa: S311 - a prompt is no secret
    return {
        "model": order.model,
        "messages": [{"role": "user", "content": " ".join([f"{number}", *words])}],
        "max_tokens": order.generate,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _note(stream: Stream, data: str, now: float) -> None:
    if data == "[DONE]":
        return
    event = json.loads(data)
    if "error" in event:
        stream.error = str(event["error"].get("code") or "error") if isinstance(event["error"], dict) else "error"
        return
    if usage := event.get("usage"):
        stream.prompt_tokens, stream.tokens = usage["prompt_tokens"], usage["completion_tokens"]
    deltas = [choice.get("delta") or {} for choice in event.get("choices", ())]
    if any(delta.get("content") or delta.get("reasoning_content") for delta in deltas):
        stream.events.append(now)


def report(order: Order, streams: Sequence[Stream], seconds: float) -> Report:
    """The numbers of an order whose streams have ended. Pure."""
    good = [stream for stream in streams if stream.error is None]
    return Report(
        concurrency=order.concurrency,
        requests=len(streams),
        errors=dict(Counter(stream.error for stream in streams if stream.error is not None)),
        seconds=seconds,
        prompt_tokens=sum(stream.prompt_tokens for stream in good),
        tokens=sum(stream.tokens for stream in good),
        first_token=percentiles([stream.events[0] for stream in good]),
        inter_token=percentiles([gap for stream in good for gap in stream.gaps]),
        end_to_end=percentiles([stream.seconds for stream in good]),
    )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99: the smallest value that so many of a hundred do not exceed. Empty where there are no values."""
    ordered = sorted(values)
    return {f"p{p}": ordered[-(-len(ordered) * p // 100) - 1] for p in PERCENTILES} if ordered else {}
