"""`cupola forge`: the whole line from data to a new version, by `scripts`, in a program of its own."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..environment import child_environment
from ..settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(
        epilog="Examples: cupola forge device-commands-forge.yaml"
        " · cupola forge mine.yaml --set finetune.epochs=1 --serve"
    )(forge)


def forge(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A section for each stage; docs/training.md.")],
    work: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of the stages; default: $CUPOLA_HOME/forge/NAME.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field: --set finetune.steps=50")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the new version when it is registered.")] = False,
    allow_scripts: Annotated[bool, typer.Option("--allow-scripts", help="Run the loss that the recipe names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Make a small model good at one task: from data to a new version that passed a gate.

    What is done is not done again: the same command goes on after a kill. Needs the extra `train`.
    """
    given = ["--work", str(work)] if work else []
    given += [part for change in changes or [] for part in ("--set", change)]
    given += ["--allow-scripts"] * allow_scripts + ["--json"] * as_json
    command = [sys.executable, "-P", "-m", "scripts", "forge", str(recipe), *given]
    _run(command, as_json=as_json)
    if serve:
        name = _name(recipe, changes or [])
        status = subprocess.run([sys.executable, "-P", "-m", "server", "serve", name], check=False).returncode
        raise typer.Exit(max(status, 0))


def _run(command: list[str], *, as_json: bool) -> None:
    """It has said what went wrong. It ends when we do; with JSON also where we are killed, as its stdin ends then."""
    stdin = subprocess.PIPE if as_json else None
    environment = child_environment() | {"CUPOLA_HOME": str(load_settings().home)}
    with subprocess.Popen(command, env=environment, stdin=stdin) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    if status:
        raise typer.Exit(status if status > 0 else 1)


def _name(recipe: Path, changes: list[str]) -> str:
    import yaml

    named = [change.partition("=")[2] for change in changes if change.startswith("name=")]
    return named[-1] if named else str(yaml.safe_load(recipe.read_text("utf-8"))["name"])  # it was checked: it ran
