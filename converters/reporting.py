"""What a converter says while it works: JSON lines to the program that started it, a bar and sentences to a person."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from server.errors import CupolaError
from server.models.conversion import Failure, Line
from server.models.progress import Phase
from server.models.quality import Quality

QUIET = 10.0  # seconds between two lines, where no bar can be drawn


class Reporter:
    """Tells how far a conversion is: as JSON on stdout, as a bar on a terminal, or as a plain line now and then."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("Converting", total=1.0) if bar else None
        self._spoke = -inf

    def step(self, fraction: float, doing: str, phase: Phase = "converting") -> None:
        if self._bar is None or self._task is None:
            self.line(Line(phase=phase, fraction=min(max(fraction, 0.0), 1.0)))
        elif not self._bar.disable:
            self._bar.update(self._task, completed=fraction, description=f"{phase.capitalize()}: {doing}")
        elif (now := monotonic()) - self._spoke >= QUIET:
            self._spoke = now
            typer.echo(f"{phase.capitalize()}: {doing}, {fraction:.0%}", err=True)

    def line(self, line: Line) -> None:
        typer.echo(line.model_dump_json(exclude_defaults=True))


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Errors become the last line and exit status 1. With JSON somebody waits at the other end, and if not, we end."""
    if as_json:
        threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    try:
        if as_json:
            yield Reporter(None)
        else:
            terminal = Console(stderr=True)
            with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
                yield Reporter(bar)
    except CupolaError as error:
        if as_json:
            typer.echo(Line(error=Failure(message=error.message)).model_dump_json(exclude_defaults=True))
        else:
            typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)


def finish(reporter: Reporter, line: Line, made: Path, *, as_json: bool) -> None:
    """The last line: what was made, and how close it is to what it was made from."""
    if as_json:
        reporter.line(line)
        return
    rounded = "no matrix is rounded"
    if line.rounded:
        rounded = f"{line.rounded} of {line.tensors} matrices are rounded, the others are the source's own numbers"
    typer.echo(f"{made}: {rounded}." if line.tensors else f"{made} is written.")
    for note in line.notes:
        typer.echo(f"Note: {note}")
    if line.quality is not None:
        typer.echo(said(line.quality))


def said(quality: Quality) -> str:
    """A measured quality as a sentence."""
    return (
        f"Divergence from the {quality.reference}: mean {quality.kl_mean:.2g}, 99th percentile {quality.kl_p99:.2g}"
        f" nats; the same likeliest token in {quality.top1:.1%} of {quality.positions} positions."
    )


def last_phase(quality: Quality | None) -> Phase:
    return "measuring" if quality else "converting"


def end_with_parent() -> None:
    """Wait for the end of stdin, which comes when the parent ends, however it does.

    Only a pipe is held by a parent: /dev/null, as under nohup or a service manager, is at its end from the beginning.
    """
    if _parent_holds_stdin():
        _wait_for_parent()
        os._exit(1)


def leave_with_parent() -> None:
    """From now on the main thread, where it only waits, leaves what it is in when the parent ends, and cleans up.

    Not on Windows, where nothing wakes it: there the program ends as it is.
    """
    if os.name == "posix":
        signal.signal(signal.SIGTERM, _leave)  # SIGINT is ignored by what a shell runs in the background
    threading.Thread(target=_interrupt_with_parent, name="parent", daemon=True).start()


def _interrupt_with_parent() -> None:
    if sys.platform == "win32":
        end_with_parent()
        return
    if not _parent_holds_stdin():
        return
    _wait_for_parent()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # to this thread, whose system call ends


def _parent_holds_stdin() -> bool:
    try:
        kind = os.fstat(0).st_mode
    except OSError:  # it is closed
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)


def _wait_for_parent() -> None:
    while os.read(0, 1 << 10):  # Python's own reader holds a lock, which at the end of the program is an abort
        pass


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)
