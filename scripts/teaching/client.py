"""One question to one teacher: any OpenAI-compatible server."""

import asyncio
import random
import time
from typing import Any

import httpx
import msgspec

from server.errors import CupolaError

from .order import Order, Teacher
from .prompts import digest

LONGEST_WAIT = 60.0  # seconds between two tries, also where Retry-After asks for more
PASSING = {408, 409, 425, 429}  # and everything from 500
TOO_LONG = 413
LARGEST = 16 << 20  # bytes of a response; a million tokens of text are a quarter of it


class Failed(Exception):
    """No usable answer, and why. `lasting`: it would be the same another time, so it is not asked again."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Question(msgspec.Struct, frozen=True):
    """A request to one teacher; `key` is the same for the same request in every run."""

    teacher: Teacher
    messages: tuple[dict[str, str], ...]
    seed: int
    temperature: float
    max_tokens: int
    schema: dict[str, Any] | None = None
    name: str = "answer"

    @property
    def key(self) -> str:
        told = (self.messages, self.schema, self.temperature, self.max_tokens, self.seed)
        return digest(self.teacher.at, *told)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        body: dict[str, Any] = {"model": self.teacher.model, "messages": self.messages, "seed": self.seed}
        body |= {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.schema is not None:
            form = {"name": self.name, "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


class Answer(msgspec.Struct, frozen=True):
    """What a teacher said, what it counted, and the seconds of the request that succeeded."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool
    seconds: float


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


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Complaint(msgspec.Struct):
    error: _Error


async def ask(client: httpx.AsyncClient, url: str, question: Question, order: Order, headers: dict[str, str]) -> Answer:
    """Tried again with exponential back-off and jitter, later where Retry-After says so.

    Raises Failed, and CupolaError with the server's words when it refuses requests like this one for good.
    """
    reason = ""
    for attempt in range(order.retries + 1):
        wait = min(LONGEST_WAIT, order.first_wait * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        began = time.monotonic()
        try:
            async with asyncio.timeout(order.deadline):
                response = await _posted(client, f"{url}/chat/completions", question.body, headers)
            if response.status_code == httpx.codes.OK:
                return _read(response.content, time.monotonic() - began)
            reason = f"status {response.status_code}"
            if response.status_code < 500 and response.status_code not in PASSING:
                raise _refused(question.teacher, response)
            after = response.headers.get("retry-after", "")
            if after.isdecimal():
                wait = min(LONGEST_WAIT, max(wait, float(after)))
        except TimeoutError:
            reason = "deadline"
        except httpx.HTTPError:
            reason = "no connection"
        except msgspec.MsgspecError:
            reason = "malformed response"
        if attempt < order.retries:
            await asyncio.sleep(wait)
    raise Failed(reason)


async def _posted(client: httpx.AsyncClient, url: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    """The whole response, if it is no longer than an answer ever is. Raises Failed."""
    async with client.stream("POST", url, json=body, headers=headers) as response:
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > LARGEST:
                raise Failed(f"an answer of more than {LARGEST >> 20} MB", lasting=True)
    return httpx.Response(response.status_code, headers=_plain(response.headers), content=bytes(content))


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """Without what was said of the bytes on the way."""
    return {name: headers[name] for name in ("retry-after", "content-type") if name in headers}


def _read(content: bytes, seconds: float) -> Answer:
    read = msgspec.json.decode(content, type=_Completion)
    if not read.choices:
        raise msgspec.ValidationError("no choices")
    used, first = read.usage or _Usage(), read.choices[0]
    cut = first.finish_reason == "length"
    return Answer(first.message.content or "", used.prompt_tokens, used.completion_tokens, cut, seconds)


def _refused(teacher: Teacher, response: httpx.Response) -> Exception:
    """One prompt that is too long is that prompt's fate; any other refusal is everyone's."""
    try:
        error = msgspec.json.decode(response.content, type=_Complaint).error
    except msgspec.MsgspecError:
        error = _Error(" ".join(response.text.split())[:300])
    if response.status_code == TOO_LONG or error.code == "context_length_exceeded":
        return Failed("longer than the teacher's context", lasting=True)
    words = error.message or "it gives no reason"
    return CupolaError(f"The teacher {teacher.at} refused a request (status {response.status_code}): {words}")
