"""The server that the `foundry` command speaks with: found, started if need be, asked over HTTP."""

import json
from collections.abc import Generator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import typer

from .. import service
from ..errors import CupolaError, Unavailable
from ..settings import Settings

Body = dict[str, Any]


def running(settings: Settings) -> service.Running | None:
    """The service of this home, also one that is just starting; else a server that somebody started by hand."""
    return service.settled(settings) or _by_hand(settings)


def _by_hand(settings: Settings) -> service.Running | None:
    """A server on the usual port is ours if it keeps its models where we do."""
    if settings.port == 0:
        return None
    try:
        said = Remote(settings.url, settings, timeout=2).get("/status")
    except CupolaError:
        return None
    if not isinstance(said, dict) or said.get("modelCachePath") != str(settings.home):
        return None
    return service.Running(said["pid"], settings.url, service.log_path(settings))


def started(settings: Settings) -> "Remote":
    """The server, started unless it runs."""
    found = running(settings)
    if found is None:
        found = service.start(settings)
        typer.echo(f"🟢 Service is Started on {found.url}/, PID {found.pid}!")
    return Remote(found.url, settings)


class Remote:
    """One server. Not httpx: its import takes longer than what clients allow for a look at the status.

    The key is the one of CUPOLA_API_KEY.
    """

    def __init__(self, url: str, settings: Settings, timeout: float | None = None) -> None:
        self.url = url
        secret = settings.api_key
        self._headers = {"Authorization": f"Bearer {secret.get_secret_value()}"} if secret else {}
        self._timeout = timeout

    def get(self, path: str) -> Any:
        """The answer as JSON; None for an empty one. Raises CupolaError with the server's own words."""
        with self._request("GET", path, None) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def post(self, path: str, body: Body) -> Any:
        """The same for a request with a body."""
        with self._request("POST", path, body) as answer:
            return json.loads(answer.read())

    def lines(self, path: str, body: Body) -> Generator[str]:
        """The lines of an answer, as they come."""
        with self._request("POST", path, body) as answer:
            for line in answer:
                yield line.decode("utf-8").rstrip("\n")

    def _request(self, method: str, path: str, body: Body | None) -> Any:
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=self._timeout)
        try:
            # The answer then owns the socket, and closing one closes both.
            headers = self._headers | {"Connection": "close"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            if answer.status == HTTPStatus.UNAUTHORIZED:
                raise Unavailable("The server wants an API key: put one of its keys into CUPOLA_API_KEY.")
            if answer.status >= 400:
                raise CupolaError(_message(answer.read()))
        except (OSError, HTTPException) as error:
            raise Unavailable(f"No answer from {self.url}: {error}. See: foundry service status") from None
        return answer


def at(path: str, name: str) -> str:
    """A path with a model's id in it."""
    return f"{path}/{quote(name, safe=':@+')}"


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace")[:300]
