"""What one request was and took: kept while it runs, and told to the meter when its response has ended.

An account holds counts, times and names of ours, and nothing of what was asked or said.
"""

import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import accumulate

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ModelNotFound
from ..logs import Served, serve
from ..metrics.families import OTHER as OTHER
from ..metrics.families import UNKNOWN
from ..metrics.meter import CANCELLED, Ended, Meter
from ..metrics.operation import OPERATIONS, Operation
from ..models.registry import Registry
from ..types import Delta, Request

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


@dataclass(slots=True)
class Account:
    """One HTTP request. Counts are what `usage` says; seconds are None where it did not come to that.

    `status` is 499 until an answer begins: so it stays if the client goes before. `asked` is the model as the client
    wrote it, for traces alone; `model` its name in models.yaml. Both are empty where no model was asked for. `error` is
    the code of what it was answered with, or of what ended the answer.
    """

    id: str = ""
    method: str = "GET"
    route: str = OTHER
    path: str = ""  # for the log, where there is no route
    key: str = ""  # the name of the API key
    asked: str = ""
    model: str = ""
    status: int = CANCELLED
    error: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    first_token_seconds: float | None = None
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    finishes: list[str] = field(default_factory=list)  # of each continuation
    traceparent: str | None = None  # the client's
    prompts: list[str] = field(default_factory=list)  # and `answers`: only where the settings want them in traces
    answers: dict[int, str] = field(default_factory=dict)
    tell: "Callable[[Account], None] | None" = None  # who hears of it when it has ended
    served: Served | None = None  # for the log
    _open: int = 1

    def cancel(self) -> None:
        """The client has left."""
        self.status = CANCELLED

    def detach(self) -> None:
        """Work goes on behind the response: one more `close` is to come."""
        self._open += 1

    def close(self) -> None:
        """The response, or the work behind it, has ended; with the last of them the request has."""
        self._open -= 1
        if not self._open:
            self.seconds = time.perf_counter() - self.began
            if self.tell is not None:
                self.tell(self)
            if self.served is not None:
                self.served.end()


_CURRENT: ContextVar[Account | None] = ContextVar("account", default=None)


def account() -> Account:
    """The account of the request that is being served; one that nobody reads where there is none (`cupola run`)."""
    return _CURRENT.get() or Account()


class Accounting:
    """ASGI middleware, around everything else. The id is the client's own if that is sane: logs then agree with his."""

    def __init__(self, app: ASGIApp, tell: Callable[[Account], None]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kept = Account(request_id(headers.get(HEADER, "")), scope["method"], path=scope["path"], tell=self._tell)
        kept.traceparent = headers.get("traceparent")
        kept.served = serve(kept.id)
        _CURRENT.set(kept)  # not reset: what is done behind the response belongs to it too

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept.status = message["status"]
                MutableHeaders(scope=message)[HEADER] = kept.id
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            kept.status = 500  # the framework answers, behind our back
            kept.served = None  # and the HTTP server logs why, with the id
            raise
        finally:
            kept.route = getattr(scope.get("route"), "path", OTHER)
            kept.close()


def request_id(given: str) -> str:
    """The client's own, where it may stand in a log and in a header; else a new one."""
    return given if _SANE.fullmatch(given) else secrets.token_hex(12)


def asked_for(registry: Registry, name: str) -> None:
    """Note the model that a request is for, as its client wrote it."""
    kept = account()
    kept.asked = name
    try:
        kept.model = registry.resolve(name)[0].name
    except ModelNotFound:
        kept.model = UNKNOWN


def operation_of(kept: Account) -> Operation | None:
    """What traces are told; None where no model was to do anything."""
    name = OPERATIONS.get(kept.route)
    if name is None or not kept.asked:
        return None
    return Operation(
        name,
        kept.method,
        kept.route,
        kept.asked,
        kept.model,
        kept.status,
        kept.error,
        kept.prompt_tokens,
        kept.cached_tokens,
        kept.completion_tokens,
        kept.seconds,
        kept.first_token_seconds,
        tuple(kept.finishes),
        kept.traceparent,
        tuple(kept.prompts),
        tuple(kept.answers[index] for index in sorted(kept.answers)),
    )


def ended(kept: Account) -> Ended:
    """What the meter is told."""
    return Ended(kept.route, kept.model, kept.status, kept.seconds, kept.error)


class Tally:
    """Counts a stream of deltas, for the meter as they come and for the account of their request."""

    def __init__(self, meter: Meter, model: str, requests: list[Request], *, keeps_texts: bool) -> None:
        self._meter = meter
        self._keeps_texts = keeps_texts
        self._model = model
        self._account = account()
        self._account.model = model
        if keeps_texts:
            self._account.prompts += [str(request.prompt) for request in requests]
        # A prompt is counted once, with the first of its continuations.
        self._firsts = {0, *accumulate(request.n for request in requests)}
        self._latest: dict[int, float] = {}  # when each continuation last gained something

    def add(self, delta: Delta) -> None:
        """One more delta, as it comes from the worker."""
        now = time.perf_counter()
        kept, meter = self._account, self._meter
        if kept.first_token_seconds is None:
            kept.first_token_seconds = now - kept.began
            meter.first_token(self._model, kept.first_token_seconds)
        before = self._latest.get(delta.index)
        if before is not None and delta.tokens:
            meter.next_tokens(self._model, now - before, delta.tokens)
        self._latest[delta.index] = now
        if delta.tokens:
            meter.generated(self._model, delta.tokens)
            kept.completion_tokens += delta.tokens
        if self._keeps_texts:
            kept.answers[delta.index] = kept.answers.get(delta.index, "") + delta.text
        if delta.finish and delta.usage:
            self._finish(delta)

    def _finish(self, delta: Delta) -> None:
        usage, kept = delta.usage, self._account
        assert usage is not None
        assert delta.finish is not None
        first = delta.index in self._firsts
        self._meter.sequence(self._model, delta.finish, usage, first=first)
        kept.finishes.append(delta.finish)
        if first:
            kept.prompt_tokens += usage.prompt_tokens
            kept.cached_tokens += usage.cached_tokens
            kept.queue_seconds = max(kept.queue_seconds or 0.0, usage.queue_seconds)
            kept.prefill_seconds = max(kept.prefill_seconds or 0.0, usage.prompt_seconds)
        kept.decode_seconds = max(kept.decode_seconds or 0.0, usage.decode_seconds)


def count_texts(meter: Meter, model: str, tokens: list[int]) -> None:
    """Texts have become vectors: they are prompts of one request."""
    kept = account()
    kept.model = model
    kept.prompt_tokens += sum(tokens)
    meter.prompt(model, sum(tokens))
