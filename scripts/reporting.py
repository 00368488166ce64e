"""What a tool says while it works: a bar and sentences to a person, JSON lines to the program that started it."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from converters.reporting import end_with_parent
from server.errors import CupolaError

LOUD = ("torchao", "torch.utils._pytree", "transformers.trainer_utils")  # warn of what nobody here can change


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `--json`: how far it is, or why it ended. The result is the last line, and of the tool's own kind."""

    fraction: float = 0.0
    doing: str = ""
    figures: dict[str, float] = {}
    error: str = ""


QUIET = 20.0  # seconds between two lines, where no bar can be drawn


class Reporter:
    """How far a tool is: a bar on a terminal, lines of JSON, or a plain line now and then."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=1.0) if bar else None
        self._spoke = -inf

    def step(self, fraction: float, doing: str, **figures: float) -> None:
        """`fraction` in 0..1 of the whole; figures (loss=0.31) stand beside the bar."""
        if self._bar is None or self._task is None:
            print(msgspec.json.encode(Line(fraction, doing, figures)).decode(), flush=True)  # noqa: T201
            return
        shown = "  ".join([doing, *(f"{name} {value:.4g}" for name, value in figures.items())])
        if not self._bar.disable:
            self._bar.update(self._task, completed=fraction, description=shown)
        elif (now := monotonic()) - self._spoke >= QUIET:
            self._spoke = now
            typer.echo(f"{fraction:4.0%}  {shown}", err=True)

    def say(self, sentence: str) -> None:
        """A warning or a finding, above the bar."""
        if self._bar is None:
            print(msgspec.json.encode(Line(doing=sentence)).decode(), flush=True)  # noqa: T201
        else:
            self._bar.console.print(sentence, highlight=False, markup=False)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Errors become the last line and the exit status. With JSON somebody waits at the other end, and if not, we end.

    A library that is missing is an error that names the extra.
    """
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    if as_json:
        threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        try:
            if as_json:
                yield Reporter(None)
            else:
                terminal = Console(stderr=True)
                with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
                    yield Reporter(bar)
        except ModuleNotFoundError as error:
            raise CupolaError(f"This needs {error.name}. Install it with: pip install 'cupola[train]'") from None
    except CupolaError as error:
        if as_json:
            print(msgspec.json.encode(Line(error=error.message)).decode(), flush=True)  # noqa: T201
        else:
            typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)
