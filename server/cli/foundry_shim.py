"""`cupola foundry-shim`: the command `foundry` for what was written for Foundry Local."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..shim import launcher
from .arguments import AsJson

ABOUT = "Put a command named foundry on PATH, for Foundry Local's clients."
EPILOG = "Examples: cupola foundry-shim install --dir ~/bin · cupola foundry-shim status --json"
Folder = Annotated[Path | None, typer.Option("--dir", help="The folder on PATH; default: the one of cupola.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    group.command(epilog=EPILOG)(install)
    group.command(epilog=EPILOG)(uninstall)
    group.command(epilog=EPILOG)(status)
    app.add_typer(group, name="foundry-shim", help=ABOUT, epilog=EPILOG)


def install(folder: Folder = None, as_json: AsJson = False) -> None:
    """Put it there. A program of that name that is not ours stays."""
    found = launcher.install(launcher.folder_of(folder))
    note = "" if found.found else f" It is not what runs: put {found.path.parent} first in PATH."
    _say(found, f"{found.path} is installed; its service is Cupola.{note}", as_json=as_json)


def uninstall(folder: Folder = None, as_json: AsJson = False) -> None:
    """Take it away."""
    place = launcher.folder_of(folder)
    gone = launcher.uninstall(place)
    found = launcher.look(place)
    _say(found, f"{found.path} is removed." if gone else f"There is no {found.path}.", as_json=as_json)


def status(folder: Folder = None, as_json: AsJson = False) -> None:
    """Tell what is there, and what runs by that name."""
    found = launcher.look(launcher.folder_of(folder))
    said = {"absent": "is not there", "ours": "is Cupola's", "foreign": "is another program"}[found.state]
    runs = found.on_path or "nothing"
    _say(found, f"{found.path} {said}; by the name foundry a shell runs {runs}.", as_json=as_json)


def _say(found: launcher.Launcher, text: str, *, as_json: bool) -> None:
    about = {"path": str(found.path), "state": found.state, "on_path": str(found.on_path) if found.on_path else None}
    typer.echo(json.dumps(about, indent=2) if as_json else text)
