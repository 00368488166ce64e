"""`cupola load unload reload`: what the running server holds, changed from outside."""

import json
from typing import Annotated, Any

import typer

from ..service import addressed
from ..settings import load_settings
from .arguments import AsJson, Name
from .client import call

KeepAlive = Annotated[
    str | None, typer.Option(metavar="TIME", help="How long it stays when idle: 90, 10m, 2h, or -1 for ever.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Examples: cupola load smollm2 · cupola load smollm2 --keep-alive 10m --json")(load)
    app.command(epilog="Examples: cupola unload smollm2 · cupola unload smollm2 --force")(unload)
    app.command("reload", epilog="Examples: cupola reload · cupola reload --json")(reload_models)


def load(name: Name, keep_alive: KeepAlive = None, as_json: AsJson = False) -> None:
    """Load a model in the running server, so that its first request need not wait."""
    settings = addressed(load_settings())
    body = {"model": name} | ({"keep_alive": keep_alive} if keep_alive is not None else {})
    answer = call(settings, "POST", "/admin/load", body, timeout=settings.load_timeout)
    _tell(answer, f"{answer.get('id', name)} is loaded.", as_json=as_json)


def unload(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also while requests use it; they end with an error.")] = False,
    as_json: AsJson = False,
) -> None:
    """Unload a model from the running server; its memory returns to the system."""
    settings = addressed(load_settings())
    body = {"model": name, "force": force}
    answer = call(settings, "POST", "/admin/unload", body, timeout=settings.load_timeout)
    told = "is unloaded" if answer.get("unloaded", True) else "was not loaded"
    _tell(answer, f"{name} {told}.", as_json=as_json)


def reload_models(as_json: AsJson = False) -> None:
    """Let the running server read models.yaml again, without dropping a stream.

    A file with an error changes nothing, and it is said what is wrong.
    """
    settings = addressed(load_settings())
    answer = call(settings, "POST", "/admin/reload", {}, timeout=settings.load_timeout)
    changes = [f"{what} {', '.join(answer[what])}" for what in ("added", "changed", "removed") if answer.get(what)]
    _tell(answer, f"Read {settings.overlay} again: {'; '.join(changes) or 'nothing changed'}.", as_json=as_json)


def _tell(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(answer, indent=2) if as_json else text)
