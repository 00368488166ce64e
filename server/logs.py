"""Where log lines go: stderr, one line each, for people or as JSON. Never a prompt or a key unless it is asked for.

Every line that is written while a request is served has the request's id. The variable that holds it lives here, below
all who log; whoever begins to serve a request calls `serve`, and `end` when it was served.
"""

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

PRETTY, JSON = "pretty", "json"
LARGEST = 10_000_000  # bytes of a log that we keep ourselves
# What every record has; the rest are the fields of `extra`. The colour of uvicorn's messages is none of them.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class Served:
    """A request that is being served. Timers and tasks that it leaves behind keep it, so it loses its id in the end."""

    def __init__(self, identity: str) -> None:
        self.id: str | None = identity

    def end(self) -> None:
        self.id = None


_SERVED: ContextVar[Served | None] = ContextVar("served", default=None)


def serve(identity: str) -> Served:
    """From now on, lines of this task and of those it starts have this id."""
    served = Served(identity)
    _SERVED.set(served)
    return served


def configure(level: str, form: str = "auto", stream: TextIO = sys.stderr, file: Path | None = None) -> None:
    """Set up the log of the server process. `file`: where its output goes, if nobody else keeps that from growing."""
    handler = logging.StreamHandler(stream) if file is None else BoundedOutput(stream, file)
    handler.setFormatter(JsonLines() if chosen(form, stream) == JSON else PrettyLines())
    handler.addFilter(with_request_id)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def chosen(form: str, stream: TextIO) -> str:
    """`auto` is for people on a terminal; what reads a pipe or a file is a program, and programs want JSON."""
    return (PRETTY if stream.isatty() else JSON) if form == "auto" else form


def with_request_id(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, with the id of the request that is being served."""
    if getattr(record, "request_id", None) is None:
        served = _SERVED.get()
        record.request_id = None if served is None else served.id
    return True


def one_line(text: str) -> str:
    """Text that cannot pass for another line or move a terminal's cursor: what does not print is spelled out."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode("ascii") for part in text)


class BoundedOutput(logging.StreamHandler[TextIO]):
    """Writes to the output of this process, which is a file. One that has grown large is put aside, as `.1`.

    What others write to stdout and stderr follows: the descriptors themselves lead to the new file.
    """

    def __init__(self, stream: TextIO, file: Path) -> None:
        super().__init__(stream)
        self._file, self._most = file, LARGEST

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if os.fstat(self.stream.fileno()).st_size > self._most:
            self._begin_anew()

    def _begin_anew(self) -> None:
        try:
            if self._file.exists():
                self._file.replace(self._file.with_name(f"{self._file.name}.1"))
            fresh = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:  # Windows renames no open file: the next start will
            self._most *= 2
            return
        for output in (sys.__stdout__, sys.__stderr__):
            if output is not None:
                os.dup2(fresh, output.fileno())
        os.close(fresh)


class PrettyLines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO server.pool: loaded smollm2 [request id]`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        identity = getattr(record, "request_id", None)
        line = f"{_time_of(record)} {record.levelname:<7} {record.name}: {one_line(record.getMessage())}"
        line = f"{line} [{one_line(identity)}]" if identity else line
        trace = _trace_of(self, record)
        return line + "".join(f"\n    {one_line(part)}" for part in trace.splitlines())


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, request_id, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}
        if trace := _trace_of(self, record):
            line["exception"] = trace
        return json.dumps(line, default=str)


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    trace = formatter.formatException(record.exc_info) if record.exc_info else ""
    return "\n".join(part for part in (trace, record.stack_info) if part)
