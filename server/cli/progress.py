"""How a pull looks: bars in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from ..models.progress import Phase, Progress, Report

_WORDS: dict[Phase, str] = {
    "waiting": "Waiting for another pull of",
    "downloading": "Downloading",
    "copying": "Copying",
    "verifying": "Verifying",
    "joining": "Joining",
    "converting": "Converting",
    "measuring": "Measuring quality of",
}
_LINE_SECONDS = 5.0


@contextmanager
def shown(model: str) -> Iterator[Report]:
    """A report that shows the pull of `model` on stderr, so that stdout stays the command's own."""
    if not sys.stderr.isatty():
        yield PlainLines(model).report
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=16),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Bars(*columns, console=Console(stderr=True), expand=True) as bars:
        yield _Tasks(bars).report


class PlainLines:
    """One line when a file's phase begins, one when it ends, and one every few seconds between."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._current: tuple[str, Phase] | None = None
        self._spoke = 0.0

    def report(self, progress: Progress) -> None:
        """Show one step."""
        now = time.monotonic()
        begun = self._current != (progress.file, progress.phase)
        ended = progress.done == progress.total
        if not begun and not ended and now - self._spoke < _LINE_SECONDS:
            return
        self._current, self._spoke = (progress.file, progress.phase), now
        total = f" of {megabytes(progress.total)}" if progress.total is not None else ""
        line = f"{self._model}: {_WORDS[progress.phase].lower()} {progress.file}, {megabytes(progress.done)}{total}"
        typer.echo(line, err=True)


class _Tasks:
    """One bar for each phase of each file."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, Phase], TaskID] = {}

    def report(self, progress: Progress) -> None:
        key = (progress.file, progress.phase)
        if key not in self._tasks:
            description = f"{_WORDS[progress.phase]} {progress.file}"
            # What an earlier pull left does not count for the rate.
            self._tasks[key] = self._bars.add_task(description, total=progress.total, completed=progress.done)
        self._bars.update(self._tasks[key], completed=progress.done, total=progress.total)


def megabytes(size: int | None) -> str:
    """A size for a person; '?' where it is not known."""
    if size is None:
        return "?"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
