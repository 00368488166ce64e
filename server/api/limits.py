"""What is refused before any route runs: a foreign Host, another site's GET that changes something, a body that is not
JSON or too large.

A web page can make the user's browser send requests here. The Host check stops DNS rebinding; requiring the JSON media
type makes a browser ask for permission first (a pre-flight request), which nobody grants.
"""

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..address import is_everywhere
from ..errors import (
    BodyTooLarge,
    CrossSiteRefused,
    CupolaError,
    HeadersTooLarge,
    HostNotAllowed,
    UnsupportedMediaType,
)
from ..settings import Settings
from .cross_site import check_site
from .error_shapes import shape_of
from .errors import error_response

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16_384
LOCAL_NAMES = ("localhost",)


class Border:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_body = settings.max_body_bytes
        self._hosts = frozenset({*LOCAL_NAMES, settings.host.lower(), *settings.hosts})
        self._any_address = is_everywhere(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            check_size(scope["headers"])
            check_host(headers.getlist("host"), self._hosts, any_address=self._any_address)
            check_site(scope["path"], headers)
            if scope["method"] in {"POST", "PUT", "PATCH"}:
                check_body_headers(headers, self._max_body)
            metered = _Metered(receive, self._max_body)
            await self._app(scope, metered, metered.instead_of(scope, send))
        except (HeadersTooLarge, HostNotAllowed, CrossSiteRefused, UnsupportedMediaType, BodyTooLarge) as error:
            await error_response(error, shape_of(scope["path"]))(scope, receive, send)


class _Metered:
    """A `receive` that counts: a chunked body announces no length.

    The framework takes an exception of `receive` for a body it cannot parse, so its answer is replaced by ours.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._limit)
        return message

    def instead_of(self, scope: Scope, send: Send) -> Send:
        """A `send` that answers 413 in place of whatever is said about a body that was too large."""
        answered = False

        async def checked(message: Message) -> None:
            nonlocal answered
            if self._left >= 0:
                await send(message)
            elif not answered:
                answered = True
                response = error_response(_too_large(self._limit), shape_of(scope["path"]))
                await response(scope, self._receive, send)

        return checked


def check_size(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise HeadersTooLarge. The parser's own limit is for heads that have not arrived whole."""
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"More than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them.")


def check_host(values: list[str], allowed: Collection[str], *, any_address: bool = False) -> None:
    """Raise HostNotAllowed unless the one Host header names this machine as it is meant to be reached.

    A server on every address cannot know them all (a container's are mapped), so `any_address` takes an IP address for
    right. That is safe: DNS rebinding needs a name, whose meaning an attacker changes. A page whose own address is an
    IP address came from there. Names stay on a list, also this machine's own: in a local network others can claim it.
    """
    if len(values) != 1 or not (host := _host_name(values[0])):
        raise HostNotAllowed("The request needs exactly one valid Host header.")
    if host in allowed:
        return
    try:
        address = ipaddress.ip_address(host)
        if any_address or address.is_loopback:
            return
    except ValueError:
        pass
    raise HostNotAllowed(f"Host {host[:100]!r} is not served here. If it should be, add it to CUPOLA_HOSTS.")


def _host_name(value: str) -> str:
    """The name in a Host header without the port; empty if it is malformed."""
    name, port = value, ""
    if value.startswith("["):
        name, bracket, port = value[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return ""
        port = port[1:]
    elif ":" in value:
        name, _, port = value.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return ""
    return name.lower().rstrip(".") if set(name.lower()) <= _HOST_CHARACTERS else ""


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.:%_")


def check_body_headers(headers: Headers, limit: int) -> None:
    """Raise for a body that announces itself as too large, compressed, or anything but JSON."""
    if int(headers.get("content-length", "0")) > limit:  # the parser has refused what is no number
        raise _too_large(limit)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(f"Send the body as application/json, not {kind[:100] or 'without a type'}.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body uncompressed.")


def _too_large(limit: int) -> CupolaError:
    return BodyTooLarge(f"The body is larger than {limit} bytes.")
