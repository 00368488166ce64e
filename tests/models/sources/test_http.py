"""One request at a time: where a stream begins is what decides whether two downloads may be joined."""

import hashlib
from collections.abc import Callable

import httpx
import pytest

from server.errors import SourceError, SourceNotFound, SourceUnreachable
from server.models.sources.base import Part
from server.models.sources.http import make_client, network_errors, open_range, raise_for_status

from ..conftest import REPO, WEIGHTS
from ..hub import Faults, Hub

ETAG = f'"{hashlib.md5(WEIGHTS).hexdigest()}"'


def fetch(hub: Hub, offset: int, etag: str | None = None) -> tuple[int, int | None, str | None, bytes]:
    part = Part(f"{hub.cdn}/lfs/{REPO}/tiny.gguf", "tiny.gguf")
    with make_client() as client, open_range(client, part, offset, etag) as stream:
        return stream.start, stream.total, stream.etag, b"".join(stream.chunks)


def test_the_rest_of_a_file(hub: Hub) -> None:
    assert fetch(hub, 1000) == (1000, len(WEIGHTS), ETAG, WEIGHTS[1000:])
    assert fetch(hub, 1000, ETAG) == (1000, len(WEIGHTS), ETAG, WEIGHTS[1000:])
    assert fetch(hub, 0) == (0, len(WEIGHTS), ETAG, WEIGHTS)


@pytest.mark.parametrize("faults", [Faults(ignore_range=True), Faults(wrong_range=True)])
def test_a_server_that_does_not_send_what_was_asked_for(hub: Hub, faults: Faults) -> None:
    hub.faults = faults
    assert fetch(hub, 1000) == (0, len(WEIGHTS), ETAG, WEIGHTS)


def test_a_file_that_changed(hub: Hub) -> None:
    assert fetch(hub, 1000, '"of another version"') == (0, len(WEIGHTS), ETAG, WEIGHTS)


def test_an_offset_behind_the_end(hub: Hub) -> None:
    assert fetch(hub, len(WEIGHTS) + 1) == (0, len(WEIGHTS), ETAG, WEIGHTS)


def transport(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def test_a_server_that_ignores_if_range_is_not_believed() -> None:
    """It sends the asked range of a new version: joined to the old beginning, the file would be neither."""

    def answer(request: httpx.Request) -> httpx.Response:
        if "Range" in request.headers:
            return httpx.Response(
                206, headers={"Content-Range": "bytes 3-5/6", "ETag": '"new"'}, content=iter([b"new"])
            )
        return httpx.Response(200, headers={"ETag": '"new"'}, content=iter([b"newnew"]))

    with transport(answer) as client, open_range(client, Part("http://a/b", "b"), 3, '"old"') as stream:
        assert (stream.start, b"".join(stream.chunks)) == (0, b"newnew")


def test_a_weak_etag_is_no_ground_to_resume_on() -> None:
    with (
        transport(lambda _: httpx.Response(200, headers={"ETag": 'W/"a"'}, content=b"x")) as client,
        open_range(client, Part("http://a/b", "b"), 0, None) as stream,
    ):
        assert stream.etag is None


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(404), SourceNotFound),
        (httpx.Response(403), SourceError),
        (httpx.Response(503, headers={"Retry-After": "7"}), SourceUnreachable),
        (httpx.Response(418), SourceError),
        (httpx.Response(206, headers={"Content-Range": "bytes 9-9/10"}), SourceError),
        (httpx.Response(200, headers={"Content-Encoding": "br"}), SourceError),
    ],
)
def test_answers_that_are_no_file(response: httpx.Response, error: type[SourceError]) -> None:
    with (
        transport(lambda _: response) as client,
        pytest.raises(error) as caught,
        open_range(client, Part("http://a/b", "the file"), 0, None),
    ):
        pass
    assert type(caught.value) is error
    assert "the file" in caught.value.message


def test_how_long_a_server_asks_to_wait_is_bounded() -> None:
    for header, seconds in {"7": 7, "9999": 30, "tomorrow": None}.items():
        response = httpx.Response(429, headers={"Retry-After": header}, request=httpx.Request("GET", "http://a"))
        with pytest.raises(SourceUnreachable) as caught:
            raise_for_status(response, "it")
        assert caught.value.retry_after == seconds


def test_errors_of_the_library_are_translated() -> None:
    with (
        pytest.raises(SourceUnreachable, match=r"The hub cannot be reached \(ReadTimeout\)"),
        network_errors("The hub"),
    ):
        raise httpx.ReadTimeout("")
    with pytest.raises(SourceError, match="The hub cannot be fetched: loop"), network_errors("The hub"):
        raise httpx.TooManyRedirects("loop")
