"""`cupola ps`: what the running server has loaded."""

import json
import time
from typing import Any

import typer

from ..service import addressed
from ..settings import load_settings
from .arguments import AsJson
from .client import call
from .progress import megabytes


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: cupola ps · cupola ps --json · CUPOLA_PORT=8080 cupola ps")(ps)


def ps(as_json: AsJson = False) -> None:
    """Show the models that the running server has loaded."""
    answer = call(addressed(load_settings()), "GET", "/admin/models")
    residents: list[dict[str, Any]] = answer["models"]
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if not residents:
        typer.echo("No model is loaded; one loads with its first request.")
        return
    width = max(len(resident["id"]) for resident in residents)
    typer.echo(f"{'MODEL':<{width}} {'STATE':<9} {'MEMORY':>9} {'USERS':>5} {'QUEUE':>5}  UNLOADS")
    for resident in residents:
        typer.echo(row(resident, width))
    typer.echo(f"\n{megabytes(answer['taken'])} of {megabytes(answer['budget'])} are taken.")


def row(resident: dict[str, Any], width: int) -> str:
    """One model, as the server describes it; its name takes `width` columns."""
    state = resident["state"] if resident["state"] != "loading" else f"{resident['progress']:.0%}"
    line = f"{resident['id']:<{width}} {state:<9} {megabytes(resident['memory']):>9} {resident['users']:>5}"
    return f"{line} {resident['queue']:>5}  {_unloads(resident)}"


def _unloads(resident: dict[str, Any]) -> str:
    """When it goes for being idle."""
    if resident["users"]:
        return "in use"
    seconds = resident["unload_in"]
    return "never" if seconds is None else f"in {_span(seconds)}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else time.strftime("%H:%M:%S", time.gmtime(seconds))
