"""`cupola logs`: what the service said."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..errors import NotFound
from ..service import last_lines, log_path
from ..settings import load_settings
from .arguments import AsJson

POLL_SECONDS = 0.25


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Examples: cupola logs · cupola logs --lines 200 · cupola logs --follow · cupola logs --json")(
        logs
    )


def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is said from now on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the service logged last.

    With --json each line is a JSON object, so that it may be followed too.
    """
    path = log_path(load_settings())
    if not path.exists():
        raise NotFound(f"There is no {path}: the service was never started. Start it with: cupola service start")
    begin = path.stat().st_size
    for line in last_lines(path, lines) if lines else ():
        _show(line, as_json=as_json)
    if follow:
        for line in followed(path, begin):
            _show(line, as_json=as_json)


def _show(line: str, *, as_json: bool) -> None:
    typer.echo(json.dumps({"line": line}) if as_json else line)


def followed(path: Path, begin: int) -> Iterator[str]:
    """Whole lines after byte `begin`. A log that is shorter than before is a new one: from its start."""
    while True:
        if path.exists():
            with path.open("rb") as file:
                begin = begin if begin <= file.seek(0, 2) else 0
                file.seek(begin)
                for line in file:
                    if line.endswith(b"\n"):
                        begin += len(line)
                        yield line.decode("utf-8", "replace").rstrip("\r\n")
        time.sleep(POLL_SECONDS)
