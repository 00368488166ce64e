"""Who may come in: a key in the request's headers, with the scope that its path needs."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import CupolaError, KeyRefused, ScopeMissing
from . import keys
from .accounting import account
from .error_shapes import shape_of
from .errors import error_response
from .keys import KeyRing

# Load balancers and orchestrators ask these without a key; they say nothing that a closed port would not.
OPEN = frozenset({"/health", "/health/live", "/health/ready", "/version"})
METRICS = "/metrics"
# What changes which models are here or loaded, or ends the server.
ADMIN = (
    "/admin",
    "/shutdown",
    "/catalogs",
    "/models/load",
    "/models/unload",
    "/models/download",
    "/openai/load",
    "/openai/unload",
    "/openai/unloadall",
    "/openai/download",
    "/openai/upgrade",
    "/openai/register",
    "/openai/setgpudevice",
    "/api/pull",
    "/api/push",
    "/api/delete",
    "/api/create",
    "/api/copy",
)
_CHALLENGE = 'Bearer realm="cupola"'


class Gate:
    """ASGI middleware. Without any key configured everything passes: the server is then on loopback, for its user."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        try:
            self._check(path, Headers(scope=scope))
        except (KeyRefused, ScopeMissing) as error:
            response = error_response(error, shape_of(path))
            response.headers["WWW-Authenticate"] = _challenge(error, path)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        """Raise KeyRefused or ScopeMissing. Every method is asked: what HEAD and OPTIONS tell is for its users too."""
        needed = needed_scope(path)
        if needed is None or not self._ring.guarded:
            return
        presented = presented_keys(headers)
        if not presented:
            raise KeyRefused("This server needs an API key. Send it as 'Authorization: Bearer KEY'.")
        known = self._ring.known(presented)
        if not known:
            raise KeyRefused("This API key is not one of this server's.")
        fitting = [key for key in known if needed in key.scopes]
        account().key = (fitting or known)[0].name
        if not fitting:
            raise ScopeMissing(f"This API key lacks the scope '{needed}', which {path[:100]!r} needs.")


def needed_scope(path: str) -> keys.Scope | None:
    """The scope that a path needs; None for what everybody may ask. Paths that do not exist count as any other."""
    if path in OPEN:
        return None
    if path == METRICS or path.startswith(f"{METRICS}/"):
        return "metrics"
    return "admin" if any(path == room or path.startswith(f"{room}/") for room in ADMIN) else "infer"


def presented_keys(headers: Headers) -> list[str]:
    """The keys of a request: a client may send a placeholder as the one and the key as the other."""
    found = [*headers.getlist("x-api-key"), *headers.getlist("api-key")]
    for value in headers.getlist("authorization"):
        kind, _, secret = value.strip().partition(" ")
        if kind.lower() == "bearer":
            found.append(secret)
    return [secret for value in found if (secret := value.strip())]


def _challenge(error: CupolaError, path: str) -> str:
    """What RFC 6750 wants to be said."""
    if isinstance(error, ScopeMissing):
        return f'{_CHALLENGE}, error="insufficient_scope", scope="{needed_scope(path)}"'
    return _CHALLENGE
