"""`cupola ps`: what the running server has loaded."""

import json
from typing import Annotated, Any

import typer

from ..settings import Settings, load_settings
from .client import call
from .progress import megabytes


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: cupola ps · cupola ps --json · CUPOLA_PORT=8080 cupola ps")(ps)


def ps(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the models that the running server has loaded."""
    residents = fetch(load_settings())
    if as_json:
        typer.echo(json.dumps({"models": residents}, indent=2))
        return
    if not residents:
        typer.echo("No model is loaded; one loads with its first request.")
        return
    typer.echo(f"{'MODEL':<44} {'STATE':<8} {'MEMORY':>9} {'USERS':>5}  IDLE")
    for resident in residents:
        state = resident["state"] if resident["state"] != "loading" else f"{resident['progress']:.0%}"
        idle = f"{resident['idle_seconds']:.0f} s"
        memory = megabytes(resident["memory"])
        typer.echo(f"{resident['id']:<44} {state:<8} {memory:>9} {resident['users']:>5}  {idle}")


def fetch(settings: Settings) -> list[dict[str, Any]]:
    """The server's list. Raises Unavailable where none listens."""
    models: list[dict[str, Any]] = call(settings, "GET", "/admin/models")["models"]
    return models
