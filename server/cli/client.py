"""How commands talk to the running server: its address, its key, and what it says when it refuses."""

from typing import Any

import httpx

from ..errors import CupolaError, Unavailable
from ..settings import Settings

CONNECT_SECONDS = 5.0


def call(settings: Settings, method: str, path: str, body: object = None, timeout: float | None = 10.0) -> Any:
    """The server's answer, decoded. Raises Unavailable where none listens, and what the server answers as an error."""
    url = settings.url
    headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"} if settings.api_key else {}
    limits = httpx.Timeout(timeout, connect=CONNECT_SECONDS)
    try:
        # No proxy: the server is on this machine.
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=limits) as client:
            answer = client.request(method, path, json=body)
            content = answer.json() if answer.content else {}
    except httpx.TimeoutException:
        raise Unavailable(f"The server on {url} did not answer in time.") from None
    except (httpx.TransportError, ValueError):
        raise Unavailable(f"No Cupola server answers on {url}. Start one with: cupola serve") from None
    if answer.is_error:
        raise _error(answer.status_code, content, f"The server on {url} answered {method} {path} with an error.")
    return content


def _error(status: int, content: object, otherwise: str) -> CupolaError:
    """What the server said; where it is about a key, what to do about it."""
    found = content.get("error") if isinstance(content, dict) else None
    if status == httpx.codes.UNAUTHORIZED:
        otherwise = "The server wants an API key: put one of its keys into CUPOLA_API_KEY."
    elif isinstance(found, dict):
        return CupolaError.from_code(str(found.get("code")), str(found.get("message") or otherwise))
    return Unavailable(otherwise)
