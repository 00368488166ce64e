"""`cupola ps`: what the running server has loaded."""

import json
import time
from datetime import UTC, datetime
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
    residents: list[dict[str, Any]] = call(addressed(load_settings()), "GET", "/admin/models")["models"]
    if as_json:
        typer.echo(json.dumps({"models": residents}, indent=2))
        return
    if not residents:
        typer.echo("No model is loaded; one loads with its first request.")
        return
    typer.echo(f"{'MODEL':<44} {'STATE':<9} {'MEMORY':>9} {'USERS':>5} {'QUEUE':>5}  UNLOADS")
    now = datetime.now(UTC).timestamp()
    for resident in residents:
        typer.echo(row(resident, now))


def row(resident: dict[str, Any], now: float) -> str:
    """One model; `now` is a date in seconds, as `unload_at` is."""
    state = resident["state"] if resident["state"] != "loading" else f"{resident['progress']:.0%}"
    line = f"{resident['id']:<44} {state:<9} {megabytes(resident['memory']):>9} {resident['users']:>5}"
    return f"{line} {resident.get('queue', 0):>5}  {_unloads(resident, now)}"


def _unloads(resident: dict[str, Any], now: float) -> str:
    """When it goes. In use it stays, and a pinned one as well."""
    if resident["users"]:
        return "in use"
    at = resident.get("unload_at")
    return "never" if at is None else f"in {_span(max(0.0, at - now))}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else time.strftime("%H:%M:%S", time.gmtime(seconds))
