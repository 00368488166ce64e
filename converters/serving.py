"""Servers of our own: `cupola serve` in a process of its own, for as long as a block lasts."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from server.environment import child_environment
from server.errors import CupolaError
from server.models.adopt import describe
from server.models.overlay import add_model
from server.models.registry import Registry
from server.models.store import Store
from server.settings import load_settings

CUPOLA = (sys.executable, "-P", "-m", "server")
CHILD = (sys.executable, "-P", "-m", "converters.serving_child", "serve", "--host", "127.0.0.1", "--port", "0")
NAME = "measured"
STARTUP = 120.0  # seconds to start in
GRACE = 20.0  # seconds to end in
LONGEST = 500  # characters of its log that an error quotes


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server answers; the URL has no path."""

    url: str
    pid: int

    @property
    def api(self) -> str:
        """The URL that OpenAI's clients take."""
        return f"{self.url}/v1"


@contextmanager
def serving(who: str, home: Path, *preload: str, startup: float = STARTUP, **settings: str) -> Iterator[Server]:
    """A server of the models of a home, with `CUPOLA_<NAME>` settings. It has a port of its own, on loopback.

    It ends with the block, and with this process however that ends. Raises CupolaError, in which `who` did not start.
    """
    given = {"CUPOLA_LOG_FORMAT": "pretty"}  # an error quotes its last line, for people
    given |= {f"CUPOLA_{name.upper()}": value for name, value in settings.items()}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*CHILD, *preload],
            env=child_environment() | given | {"CUPOLA_HOME": str(home)},
            stdin=subprocess.PIPE,  # it ends when this does
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            until = time.monotonic() + startup
            url = _address(process, startup)
            if not url or not _answers(url, until - time.monotonic()):
                late = f" in {startup:.0f} s" if time.monotonic() >= until else ""
                log.seek(0)
                raise CupolaError(f"{who} did not start{late}: {last_words(log.read().decode('utf-8', 'replace'))}")
            yield Server(url, process.pid)
        finally:
            _end(process)


@contextmanager
def serving_artifact(
    label: str, path: str, engine: str | None = None, startup: float = STARTUP
) -> Iterator[tuple[Server, str]]:
    """A server of one artifact, and what the model is called there. Its home is gone afterwards. Raises CupolaError."""
    with tempfile.TemporaryDirectory(prefix="cupola-served-") as folder:
        model = offer(Path(folder), NAME, path, engine, label)
        with serving(f"The server for {label}", Path(folder), startup=startup) as server:
            yield server, model


def offer(home: Path, name: str, path: str, engine: str | None, label: str) -> str:
    """Make an artifact a model of a home. The name that is returned means the artifact itself, on the engine if given.

    It has no system message, whatever it was made from: what is measured is the artifact. The bare name would mean the
    best that a server can make of it for this device. Raises CupolaError.
    """
    settings = load_settings(home=home)
    try:
        add_model(settings.overlay, describe(path, name, None, None, "unknown"))
    except CupolaError as error:
        raise CupolaError(f"{label} cannot be served: {error.message}") from None
    spec, variants = Registry.load(settings.overlay).resolve(f"{name}@{engine}" if engine else name)
    Store(settings.home).pull(spec, variants[0], settings)
    return f"{name}@{engine or variants[0].name}"


def last_words(log: str) -> str:
    """What a process said at last, for an error."""
    lines = log.strip().splitlines()
    return lines[-1].removeprefix("Error: ")[:LONGEST] if lines else "it said nothing"


def _address(process: subprocess.Popen[str], patience: float) -> str:
    """What the server's first line names; nothing where it does not come in time."""
    lines: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda out: lines.append(out.readline()), args=(process.stdout,), daemon=True)
    reading.start()
    reading.join(patience)
    if reading.is_alive():
        process.kill()  # which ends the line that is waited for
        reading.join()
        return ""
    return next((word for word in "".join(lines).split() if word.startswith("http://")), "")


def _answers(url: str, patience: float) -> bool:
    """The socket listens before the application does, and keeps the request: one is enough."""
    try:
        with httpx.Client(timeout=max(patience, 0.1), trust_env=False) as client:
            return client.get(f"{url}/health/live").is_success
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        process.kill()  # nothing, where it has ended
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
