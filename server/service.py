"""The server as a service of one user: started detached, found again, ended.

What runs stands in `<home>/run/service.json`, written by the server itself once it listens. A process id alone proves
nothing, since systems use them again; with the moment of the process's birth it does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
import psutil
from filelock import FileLock, Timeout
from pydantic import SecretStr

from .address import reached, url_of
from .child.platform import birth, describe_exit, detached_options
from .environment import full_environment
from .errors import EXIT_CONFIG, ConfigError, StorageFailed, Unavailable
from .logs import LARGEST
from .settings import Settings

START_SECONDS = 60.0  # a cold disk and a busy device; a warm start takes about one second
STOP_SECONDS = 5.0  # beyond the grace for running streams, before a server that was asked to end is killed
POLL_SECONDS = 0.02
LOG_BYTES = LARGEST  # a larger log is put aside when the next server starts; one that runs does it itself
LAST_LINES = 12


class Record(msgspec.Struct, frozen=True):
    """What the server writes about itself."""

    pid: Annotated[int, msgspec.Meta(ge=1)]
    birth: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs as a service. `begun`: by the call that returned this."""

    pid: int
    url: str
    log: Path
    begun: bool = field(default=False, compare=False)


def record_path(settings: Settings) -> Path:
    """Where the server that runs as a service is written down."""
    return settings.home / "run" / "service.json"


def log_path(settings: Settings) -> Path:
    """What the service logs; what it logged before that is beside it with `.1`."""
    return log_beside(record_path(settings))


def log_beside(record: Path) -> Path:
    """The log of the server that is written down in this record."""
    return record.with_name("cupola.log")


def write_record(path: Path, host: str, port: int) -> None:
    """Called by the server: it listens here, and this is its process.

    Raises Unavailable where another one stands there and lives, as when who started it was killed before it was there.
    """
    pid, other = os.getpid(), _read(path)
    if other is not None and birth(other.pid) == other.birth:
        raise Unavailable(f"A service of this home runs already, as process {other.pid}.")
    temporary = path.with_suffix(f".{pid}")
    temporary.write_bytes(msgspec.json.encode(Record(pid, birth(pid) or "", host, port)))
    temporary.replace(path)


def status(settings: Settings) -> Running | None:
    """The service of this home, if its process lives."""
    return _found(record_path(settings), log_path(settings))


def addressed(settings: Settings) -> Settings:
    """The settings for who asks the server: they name its address, or else the service of this home is meant."""
    record = _read(record_path(settings))
    if record is None or {"host", "port"} & settings.model_fields_set or birth(record.pid) != record.birth:
        return settings
    return settings.model_copy(update={"host": reached(record.host), "port": record.port})


def settled(settings: Settings) -> Running | None:
    """The same, once nobody is starting or stopping it."""
    found = status(settings)
    if found is not None or not record_path(settings).with_name("service.lock").exists():
        return found
    with _alone(settings):
        return status(settings)


def start(settings: Settings, preload: tuple[str, ...] = ()) -> Running:
    """Start the server unless it runs, and return once it answers. `preload` is for a server that is started.

    Raises ConfigError where a setting kept it from starting, and Unavailable where something else did, with its words.
    """
    with _alone(settings):
        found = status(settings)
        return found or _start(settings, preload, record_path(settings), log_path(settings))


def stop(settings: Settings) -> bool:
    """End the service: asked first, killed after the grace. False: it did not run."""
    with _alone(settings):
        running = status(settings)
        if running is not None:
            _end(running.pid, settings.shutdown_seconds + STOP_SECONDS)
        record_path(settings).unlink(missing_ok=True)
        return running is not None


@contextmanager
def temporary(settings: Settings, preload: tuple[str, ...] = ()) -> Iterator[Running]:
    """A server for as long as the block lasts, beside the service if that runs: on a port of its own."""
    with TemporaryDirectory(prefix="cupola-") as name:
        own = settings.model_copy(update={"host": "127.0.0.1", "port": 0})
        record = Path(name) / "service.json"
        running = _start(own, preload, record, log_beside(record))
        try:
            yield running
        finally:
            _end(running.pid, STOP_SECONDS)


def last_lines(path: Path, count: int, begin: int = 0) -> list[str]:
    """The last lines of a log, of what was written from byte `begin` on."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begin, size - count * 1000))  # long lines may make it fewer
        return file.read().decode("utf-8", "replace").splitlines()[-count:]


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two that start or stop at once take turns."""
    folder = record_path(settings).parent
    lock = FileLock(folder / "service.lock", timeout=START_SECONDS + settings.shutdown_seconds + STOP_SECONDS)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise Unavailable(f"Another command starts or stops the service of {settings.home}; try again.") from None
    except OSError as error:
        raise StorageFailed(f"Cannot write in {folder}: {error.strerror}. Choose another CUPOLA_HOME.") from None
    try:
        yield
    finally:
        lock.release()


def _start(settings: Settings, preload: tuple[str, ...], record: Path, log: Path) -> Running:
    record.unlink(missing_ok=True)
    begin = _rotated(log)
    command = [sys.executable, "-P", "-m", "server", "serve", *preload, "--record", str(record)]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment_of(settings),
            cwd=record.parent,
            **detached_options(),
        )
    try:
        running = _wait_until_live(process, record, log, begin)
    except BaseException:
        process.kill()  # also when the user gave up waiting: a start that failed leaves nothing
        process.wait()
        raise
    process.returncode = 0  # it outlives us, and that is no mistake that Popen has to warn of
    return replace(running, begun=True)


def environment_of(settings: Settings) -> dict[str, str]:
    """What makes another server have these settings. No copy of a secret: it is in our environment, or in a file."""
    given = ((f"CUPOLA_{name.upper()}", getattr(settings, name)) for name in sorted(settings.model_fields_set))
    return full_environment({name: _text(value) for name, value in given if not isinstance(value, SecretStr | None)})


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value.absolute() if isinstance(value, Path) else value)


def _rotated(log: Path) -> int:
    """Put a log aside that has grown large. Returns where the next server's lines begin."""
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_BYTES:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def _wait_until_live(process: "subprocess.Popen[bytes]", record: Path, log: Path, begin: int) -> Running:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running = _found(record, log)
        if running is not None and answers(running.url):
            return running
        code = process.poll()
        if code is not None:
            kind = ConfigError if code == EXIT_CONFIG else Unavailable
            raise kind(_why(log, describe_exit(code), begin))
        time.sleep(POLL_SECONDS)
    raise Unavailable(_why(log, f"no answer for {START_SECONDS:.0f} s", begin))


def answers(url: str) -> bool:
    """Whether the server lives. Not httpx, which the server itself would import with this module, for one request."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _why(log: Path, how: str, begin: int) -> str:
    lines = "".join(f"\n  {line}" for line in last_lines(log, LAST_LINES, begin) if line.strip())
    return f"The server did not start ({how}). {log} says:{lines or ' nothing'}"


def _end(pid: int, grace: float) -> None:
    try:
        process = psutil.Process(pid)  # it remembers its birth: no signal of ours reaches another process
        process.terminate()
        if not _gone(pid, grace):
            process.kill()
            _gone(pid, STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise Unavailable(f"Process {pid} belongs to another user; end it as that user.") from None


def _gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while birth(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _found(path: Path, log: Path) -> Running | None:
    record = _read(path)
    if record is None or birth(record.pid) != record.birth:
        return None
    return Running(record.pid, url_of(reached(record.host), record.port), log)


def _read(path: Path) -> Record | None:
    """The record; None where there is none that can be read, or it was not written to its end."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
