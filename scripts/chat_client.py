"""One question to an OpenAI-compatible server: tried again where that may help, given up where it cannot."""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import msgspec

LONGEST_WAIT = 60.0  # seconds between two tries, also where Retry-After asks for more
PASSING = {408, 409, 425, 429}  # and everything from 500
LARGEST = 16 << 20  # bytes of a response; a million tokens of text are a quarter of it
WORDS = 300  # characters of a refusal that are said
PORTS = 1 << 16


class Failed(Exception):
    """No usable answer, and why. `lasting`: it would be the same another time; `words` are the server's."""

    def __init__(self, reason: str, *, words: str = "", lasting: bool = False) -> None:
        super().__init__(reason)
        self.words = words
        self.lasting = lasting


class Refused(Failed):
    """The server does not answer this request, however often it is asked."""

    def __init__(self, status: int, words: str, code: str | int | None) -> None:
        super().__init__(f"status {status}", words=words, lasting=True)
        self.status = status
        self.code = code


class Answer(msgspec.Struct, frozen=True):
    """What a server said, what it counted, and the seconds of the request that succeeded."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for one request; how often it is tried again; seconds before that at most, which double."""

    deadline: float
    retries: int
    first_wait: float


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class _Usage(msgspec.Struct):
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Complaint(msgspec.Struct):
    error: _Error


def is_address(url: str) -> bool:
    """Whether a request can be sent there: http or https, a host, and a port that is one where there is any."""
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # as it is looked up
    except (httpx.InvalidURL, UnicodeError):
        return False
    port = parsed.port is None or 0 < parsed.port < PORTS
    return parsed.scheme in ("http", "https") and bool(parsed.host) and port


async def ask(
    client: httpx.AsyncClient, url: str, body: dict[str, Any], headers: dict[str, str], patience: Patience
) -> Answer:
    """Tried again with exponential back-off and jitter, later where Retry-After says so. Raises Failed."""
    failure = Failed("")
    for attempt in range(patience.retries + 1):
        wait = min(LONGEST_WAIT, patience.first_wait * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience.deadline):
                response = await _posted(client, f"{url}/chat/completions", body, headers)
            if response.status_code == httpx.codes.OK:
                return _read(response.content, time.monotonic() - began)
            failure = _failure(response)
            if failure.lasting:
                raise failure
            after = response.headers.get("retry-after", "")
            if after.isdecimal():
                wait = min(LONGEST_WAIT, max(wait, float(after)))
        except TimeoutError:
            failure = Failed("deadline")
        except httpx.HTTPError:
            failure = Failed("no connection")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            failure = Failed("malformed response")
        if attempt < patience.retries:
            await asyncio.sleep(wait)
    raise failure


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
    return {name: headers[name] for name in ("retry-after",) if name in headers}


def _read(content: bytes, seconds: float) -> Answer:
    read = msgspec.json.decode(content, type=_Completion)
    used, first = read.usage or _Usage(), read.choices[0]
    cut = first.finish_reason == "length"
    return Answer(first.message.content or "", used.prompt_tokens, used.completion_tokens, cut, seconds)


def _failure(response: httpx.Response) -> Failed:
    """In the server's words, which are JSON where it speaks as OpenAI does."""
    try:
        error = msgspec.json.decode(response.content, type=_Complaint).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = _Error(response.content.decode("utf-8", "replace"))
    words = " ".join(error.message.split())[:WORDS]
    if response.status_code >= 500 or response.status_code in PASSING:
        return Failed(f"status {response.status_code}", words=words)
    return Refused(response.status_code, words, error.code)
