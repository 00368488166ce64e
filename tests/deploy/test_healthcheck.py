"""`python -m server.healthcheck`, against a server, a port where nobody listens, and somebody else's server."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.address import reached
from server.environment import child_environment

from ..serving import RunningServer


def check(**settings: str) -> tuple[int, str]:
    """Its exit status and what it says."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "server.healthcheck"],
        env=child_environment() | {f"CUPOLA_{name.upper()}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return result.returncode, result.stderr


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """Somebody at a port who answers this to whatever comes; None: nobody accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer or b"")

        accepting = threading.Thread(target=accept)
        if answer is not None:
            accepting.start()
        yield str(server.getsockname()[1])
        if answer is not None:
            accepting.join()


def test_a_server_that_answers_is_healthy(fake_server: RunningServer) -> None:
    assert check(port=fake_server.url.rpartition(":")[2]) == (0, "")


def test_a_port_where_nobody_listens_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    status, said = check(port=port)
    assert status == 1
    assert f"127.0.0.1:{port} does not answer" in said


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "answers 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer"),
        (b"", "does not answer"),
        (None, "does not answer: timed out"),
    ],
    ids=["unavailable", "another protocol", "nothing", "a server that hangs"],
)
def test_who_does_not_answer_well_is_not(answer: bytes | None, expected: str) -> None:
    with listening(answer) as port:
        status, said = check(port=port)
    assert status == 1
    assert expected in said
    assert said.count("\n") == 1


def test_a_wrong_setting_is_said() -> None:
    status, said = check(port="many")
    assert status == 1
    assert "CUPOLA_PORT" in said


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("localhost", "localhost"),
    ],
)
def test_a_server_on_every_address_is_asked_on_loopback(host: str, asked: str) -> None:
    assert reached(host) == asked
