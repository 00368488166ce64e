"""One question to one teacher: any OpenAI-compatible server."""

import asyncio
import random

import httpx
import msgspec

from .order import Order

LONGEST_WAIT = 60.0  # seconds between two tries


class Failed(Exception):
    """No usable answer, and why."""


class Answer(msgspec.Struct, frozen=True):
    """What a teacher said and what it counted."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


async def ask(
    client: httpx.AsyncClient, teacher: str, messages: list[dict[str, str]], seed: int, order: Order
) -> Answer:
    """Retried with exponential back-off and jitter, as Retry-After says where it does. Raises Failed."""
    url, _, model = teacher.rpartition("#")
    body = {"model": model, "messages": messages, "seed": seed, "temperature": order.temperature}
    body |= {"max_tokens": order.max_tokens}
    reason = ""
    for attempt in range(order.retries + 1):
        wait = min(LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        try:
            async with asyncio.timeout(order.deadline):
                response = await client.post(f"{url.rstrip('/')}/chat/completions", json=body)
            if response.status_code == 200:
                return _read(response.content)
            reason = f"status {response.status_code}"
            if response.status_code not in {408, 429} and response.status_code < 500:
                break
            after = response.headers.get("retry-after", "")
            if after.isdecimal():
                wait = max(wait, float(after))
        except (httpx.TransportError, TimeoutError):
            reason = "no connection or deadline"
        except msgspec.MsgspecError:
            reason = "malformed response"
        if attempt < order.retries:
            await asyncio.sleep(wait)
    raise Failed(reason)


def _read(content: bytes) -> Answer:
    read = msgspec.json.decode(content, type=_Completion)
    if not read.choices:
        raise msgspec.ValidationError("no choices")
    used, first = read.usage or _Usage(), read.choices[0]
    return Answer(first.message.content or "", used.prompt_tokens, used.completion_tokens, first.finish_reason or "")
