"""Bytes that no client library sends: foreign and doubled Host headers, huge heads, requests that dribble."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

PATHS = ["/v1/models", "/v1/chat/completions", "/admin/models", "/health/live"]
BODY = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "slow", step_seconds=0.02)
    pull(home, "slow")
    with running_server(home, request_seconds="1.0") as running:
        yield running


def connect(server: RunningServer) -> socket.socket:
    url = httpx.URL(server.url)
    return socket.create_connection((url.host, url.port or 80), timeout=10)


def talk(server: RunningServer, raw: bytes) -> bytes:
    """Everything the server says to these bytes until it closes, or falls silent."""
    answer = b""
    with closing(connect(server)) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(raw)
        while part := connection.recv(65_536):
            answer += part
    return answer


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(found[1]) if found else 0


def request(path: str, *hosts: str) -> bytes:
    head = "".join(f"Host: {host}\r\n" for host in hosts)
    if "completions" not in path:
        return f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    return f"POST {path} HTTP/1.1\r\n{head}{kind}".encode() + BODY


FOREIGN = [
    "localhost/health?",
    "x/?a=",
    "localhost#",
    "a b",
    "",
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost@x",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused_everywhere(server: RunningServer, path: str, host: str) -> None:
    assert status(talk(server, request(path, host))) in {400, 403}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("hosts", [(), ("localhost", "evil.example"), ("evil.example", "localhost")])
def test_exactly_one_host_is_needed(server: RunningServer, path: str, hosts: tuple[str, ...]) -> None:
    assert status(talk(server, request(path, *hosts))) in {400, 403}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST:5272", "[::1]", "[::1]:80", "127.0.0.1:1"])
def test_this_machine_is_served(server: RunningServer, path: str, host: str) -> None:
    assert status(talk(server, request(path, host))) == 200


HEADS: dict[str, tuple[bytes, int]] = {
    "big": (b"X-Big: " + b"a" * 70_000 + b"\r\n", 431),
    "many": (b"".join(b"X-%d: y\r\n" % i for i in range(10_000)), 431),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    "both framings": (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
    "odd coding": (b"Transfer-Encoding: xchunked\r\n", 400),
    "negative": (b"Content-Length: -1\r\n", 400),
    "endless": (b"Content-Length: 99999999999999999999\r\n", 413),
    "no colon": (b"Bad Header\r\n", 400),
    "null": (b"X: a\0b\r\n", 400),
}


@pytest.mark.parametrize(("head", "expected"), HEADS.values(), ids=HEADS)
def test_a_bad_head_is_refused(server: RunningServer, head: bytes, expected: int) -> None:
    start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = talk(server, start + b"Connection: close\r\n" + head + b"\r\n" + b"{}\r\n")
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1") == 1
    assert status(talk(server, request("/health/live", "localhost"))) == 200


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET /health/live HT", request("/v1/chat/completions", "localhost")[:-5]],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_request_that_never_arrives_is_ended(server: RunningServer, begin: bytes) -> None:
    with closing(connect(server)) as connection:
        began = time.monotonic()
        connection.sendall(begin)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65_536):
                pass
        assert 0.5 < time.monotonic() - began < 3.0


def test_dribbled_heads_do_not_keep_connections(server: RunningServer) -> None:
    """A byte now and then does not extend the deadline, and others are served meanwhile."""
    connections = [connect(server) for _ in range(100)]
    began = time.monotonic()
    try:
        while time.monotonic() - began < 1.6:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b"G")
            with server.client(timeout=1.0) as http:
                assert http.get("/health/live").status_code == 200
        wait_for(lambda: all(ended(connection) for connection in connections), seconds=1.0)
    finally:
        for connection in connections:
            connection.close()


def ended(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(65_536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_the_deadline_is_for_the_request_and_not_for_its_answer(server: RunningServer) -> None:
    body = {"model": "slow", "prompt": "x", "max_tokens": 80, "ignore_eos": True}
    with server.client() as http:
        for _ in range(2):  # on one kept connection
            answer = http.post("/v1/completions", json=body)
            assert answer.elapsed.total_seconds() > 1.2
            assert answer.json()["usage"]["completion_tokens"] == 80
