"""What a service manager hears, over a real datagram socket."""

import asyncio
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.environment import Supervision, child_environment, supervision
from server.notify import supervised

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sd_notify is Linux's")


@pytest.fixture(params=["a file", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening manager, and its address as NOTIFY_SOCKET has it."""
    address = str(tmp_path / "notify") if request.param == "a file" else f"@cupola-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        listening.settimeout(20)
        yield listening, address


def test_a_server_says_when_it_is_ready_alive_and_stopping(manager: tuple[socket.socket, str], tmp_path: Path) -> None:
    listening, address = manager
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "server", "serve", "--port", "0"],
        env=child_environment()
        | {"CUPOLA_HOME": str(tmp_path / "home"), "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"},
        stdout=subprocess.DEVNULL,
    )
    try:
        assert listening.recv(100) == b"READY=1"
        assert listening.recv(100) == b"WATCHDOG=1"
        started = time.monotonic()
        assert listening.recv(100) == b"WATCHDOG=1"
        assert time.monotonic() - started < 2.0
        process.send_signal(signal.SIGTERM)
        while (heard := listening.recv(100)) == b"WATCHDOG=1":
            pass
        assert heard == b"STOPPING=1"
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def test_a_loop_that_hangs_is_silent(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager

    async def hang() -> list[bytes]:
        async with supervised(Supervision(address, watchdog_seconds=0.03)):
            await asyncio.sleep(0.1)
            waiting = drained(listening)
            time.sleep(0.2)  # noqa: ASYNC251 - what is tested
            return [*waiting[:2], *drained(listening)]

    assert asyncio.run(hang()) == [b"READY=1", b"WATCHDOG=1"]


def drained(listening: socket.socket) -> list[bytes]:
    """Everything that has arrived."""
    listening.setblocking(False)
    heard = []
    while True:
        try:
            heard.append(listening.recv(100))
        except BlockingIOError:
            return heard


def test_no_watchdog_no_pings(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager

    async def serve() -> None:
        async with supervised(Supervision(address)):
            await asyncio.sleep(0.05)

    asyncio.run(serve())
    assert drained(listening) == [b"READY=1", b"STOPPING=1"]


def test_a_manager_that_is_gone_is_named_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> str:
        async with supervised(Supervision(str(tmp_path / "gone"), watchdog_seconds=9)):
            return "served"

    assert asyncio.run(serve()) == "served"
    assert f"{tmp_path}/gone was not told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Supervision()),
        ({"NOTIFY_SOCKET": "/run/x"}, Supervision("/run/x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1500000"}, Supervision("@x", 1.5)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, Supervision("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, Supervision("@x")),
    ],
)
def test_what_systemd_says_is_understood(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Supervision
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert supervision() == expected
