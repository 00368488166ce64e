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
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ModelNotFound
from ..metrics.families import OTHER, UNKNOWN
from ..metrics.meter import CANCELLED, Ended, Meter
from ..models.registry import Registry
from ..types import Delta, Request

if TYPE_CHECKING:
    from .services import Services

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,80}")


@dataclass(slots=True)
class Account:
    """One HTTP request. Seconds are those since its arrival, or None where there was no such moment.

    `asked` is the model as the client wrote it, for traces alone; `model` its name in models.yaml. `error` is the code
    of the error that it was answered with, or that ended it. The counts are what `usage` says.
    """

    id: str
    method: str = ""
    route: str = OTHER
    asked: str = ""
    model: str = ""
    status: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    first_token_seconds: float | None = None
    seconds: float = 0.0
    error: str | None = None
    finishes: list[str] = field(default_factory=list)
    trace: str | None = None  # the client's W3C traceparent
    arrived: float = field(default_factory=time.perf_counter)
    _open: int = 1
    on_close: "Callable[[Account], None] | None" = None

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
            self.seconds = time.perf_counter() - self.arrived
            if self.on_close is not None:
                self.on_close(self)


_current: ContextVar[Account] = ContextVar("account")


def account() -> Account:
    """The account of the request that is being served; one that nobody reads where there is none."""
    found = _current.get(None)
    return Account("") if found is None else found


class Accounting:
    """ASGI middleware, the outermost: opens an account for each request, and closes it when the response has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        opened = Account(request_id(headers.get(HEADER)), scope["method"], trace=headers.get("traceparent"))
        opened.on_close = lambda closed: told(closed, scope["app"].state.services)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                opened.status = opened.status or message["status"]
                MutableHeaders(scope=message)[HEADER] = opened.id
            await send(message)

        token = _current.set(opened)
        try:
            await self._app(scope, receive, noting)
        except Exception:
            opened.status = opened.status or 500  # the outermost handler answers, behind our back
            raise
        finally:
            _current.reset(token)
            opened.route = route_of(scope)
            opened.status = opened.status or CANCELLED  # nothing was sent: nobody was there
            opened.close()


def request_id(given: str | None) -> str:
    """The client's own, where it is one that may stand in a log and in a header; else a new one."""
    return given if given is not None and _SANE.fullmatch(given) else secrets.token_hex(12)


def route_of(scope: Scope) -> str:
    """The path of the route that was matched, with the names of its parameters; `other` where none was."""
    return str(getattr(scope.get("route"), "path", OTHER))


class Tally:
    """Counts a stream of deltas, for the meter as they come and for the account of their request."""

    def __init__(self, meter: Meter, model: str, requests: list[Request]) -> None:
        self._meter = meter
        self._model = model
        self._account = account()
        self._account.model = model
        # A prompt is counted once, with the first of its continuations.
        self._firsts = {0, *accumulate(request.n for request in requests)}
        self._latest: dict[int, float] = {}  # when each continuation last gained something

    def add(self, delta: Delta) -> None:
        """One more delta, as it comes from the worker."""
        now = time.perf_counter()
        opened, meter = self._account, self._meter
        if opened.first_token_seconds is None:
            opened.first_token_seconds = now - opened.arrived
            meter.first_token(self._model, opened.first_token_seconds)
        before = self._latest.get(delta.index)
        if before is not None and delta.tokens:
            meter.next_tokens(self._model, now - before, delta.tokens)
        self._latest[delta.index] = now
        if delta.tokens:
            meter.generated(self._model, delta.tokens)
            opened.completion_tokens += delta.tokens
        if delta.finish and delta.usage:
            self._finish(delta)

    def _finish(self, delta: Delta) -> None:
        usage, opened = delta.usage, self._account
        assert usage is not None
        assert delta.finish is not None
        first = delta.index in self._firsts
        self._meter.sequence(self._model, delta.finish, usage, first=first)
        opened.finishes.append(delta.finish)
        if first:
            opened.prompt_tokens += usage.prompt_tokens
            opened.cached_tokens += usage.cached_tokens
            opened.queue_seconds = max(opened.queue_seconds or 0.0, usage.queue_seconds)
            opened.prefill_seconds = max(opened.prefill_seconds or 0.0, usage.prompt_seconds)
        opened.decode_seconds = max(opened.decode_seconds or 0.0, usage.decode_seconds)


def asked_for(registry: Registry, name: str) -> None:
    """Note the model that a request is for, as its client wrote it."""
    opened = account()
    opened.asked = name
    try:
        opened.model = registry.resolve(name)[0].name
    except ModelNotFound:
        opened.model = UNKNOWN


def told(closed: Account, services: "Services") -> None:
    """The request has ended: whoever counts or writes it down hears of it."""
    services.meter.request(Ended(closed.route, closed.model, closed.status, closed.seconds, closed.error))


def count_texts(meter: Meter, model: str, tokens: list[int]) -> None:
    """Texts have become vectors: they are prompts of one request."""
    opened = account()
    opened.model = model
    opened.prompt_tokens += sum(tokens)
    meter.prompt(model, sum(tokens))
