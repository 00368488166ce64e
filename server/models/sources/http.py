"""Byte streams over HTTP that start where the last one broke off."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import certifi
import httpx

from ... import __version__
from ...errors import SourceError, SourceNotFound, SourceUnreachable
from .base import ByteStream, Part

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LONGEST_WAIT = 30


def trusted_certificates() -> ssl.SSLContext:
    """The system's authorities, which include a company's own, and certifi's for systems that have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def make_client(**options: Any) -> httpx.Client:
    """A client that follows redirects. httpx drops the Authorization header where one leads to another origin."""
    return httpx.Client(
        **{"verify": trusted_certificates()} | options,
        follow_redirects=True,
        timeout=_TIMEOUT,
        headers={"User-Agent": f"cupola/{__version__}", "Accept-Encoding": "identity"},
    )


@contextmanager
def network_errors(what: str) -> Iterator[None]:
    """Translate httpx's errors about `what`."""
    try:
        yield
    except httpx.TransportError as error:
        raise SourceUnreachable(
            f"{what} cannot be reached ({str(error) or type(error).__name__}); check the network and run again."
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(f"{what} cannot be fetched: {error}.") from None


def raise_for_status(response: httpx.Response, what: str) -> None:
    """Raises the SourceError that a status other than 2xx stands for."""
    if not response.is_success:
        refuse(response.status_code, response.request.url.host, response.headers.get("Retry-After", ""), what)


def refuse(status: int, host: str, wait: str, what: str) -> NoReturn:
    """Raise what an HTTP error status means for a pull; temporary ones are SourceUnreachable."""
    if status in {404, 410}:
        raise SourceNotFound(f"{what} does not exist on {host}; check its name.")
    if status in {401, 403}:
        raise SourceError(f"{host} refuses {what} (HTTP {status}); it may need a token or a password.")
    if status in {408, 429} or status >= 500:
        retry_after = min(int(wait), _LONGEST_WAIT) if wait.isdecimal() else None
        raise SourceUnreachable(f"{host} cannot serve {what} now (HTTP {status}); try later.", retry_after=retry_after)
    raise SourceError(f"{host} answered HTTP {status} for {what}.")


@contextmanager
def open_range(client: httpx.Client, part: Part, offset: int, etag: str | None) -> Iterator[ByteStream]:
    """Stream a part from `offset`, or from 0 where the server ignores ranges, answers another or has a new version."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and etag:
        headers["If-Range"] = etag
    with network_errors(part.label), client.stream("GET", part.url, headers=headers) as response:
        found = _strong_etag(response)
        usable = response.status_code != 416 and _starts_at(response, offset)
        if usable and not (offset and etag and response.status_code == 206 and found != etag):
            raise_for_status(response, part.label)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceError(f"{response.request.url.host} sends {part.label} re-encoded; that cannot be resumed.")
            start = offset if response.status_code == 206 else 0
            yield ByteStream(start, _total(response), found, response.iter_raw())
            return
    if not offset:
        raise SourceError(f"{part.label} was answered with a range nobody asked for.")
    with open_range(client, part, 0, None) as stream:
        yield stream


def _starts_at(response: httpx.Response, offset: int) -> bool:
    if response.status_code != 206:
        return True
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == offset


def _total(response: httpx.Response) -> int | None:
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers["Content-Range"])
        return int(found[2]) if found is not None and found[2] != "*" else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _strong_etag(response: httpx.Response) -> str | None:
    etag: str | None = response.headers.get("ETag")
    return None if etag is None or etag.startswith("W/") else etag
