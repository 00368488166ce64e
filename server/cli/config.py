"""`cupola config`: what a server would be started with, and where each value comes from."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from ..settings import Effective, read_settings

EPILOG = (
    "Examples: cupola config · cupola config --json · cupola config --config edge.yaml · CUPOLA_SLOTS=16 cupola config"
)
HIDDEN = "********"
_USER = re.compile(r"//[^/@]+@")  # a password in an address


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(config)


def config(
    file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file; else config.yaml in CUPOLA_HOME.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="As for serve.")] = None,
    port: Annotated[int | None, typer.Option(help="As for serve.")] = None,
    log_level: Annotated[str | None, typer.Option(help="As for serve.")] = None,
    log_format: Annotated[str | None, typer.Option(help="As for serve.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting, its value, and where it comes from.

    It is a default, or comes from a file, a variable or a flag.
    """
    effective = read_settings(config=file, host=host, port=port, log_level=log_level, log_format=log_format)
    rows = described(effective)
    if as_json:
        typer.echo(json.dumps({"settings": rows}, indent=2))
        return
    width = max(len(row) for row in rows)
    values = {name: "" if row["value"] is None else _text(row["value"]) for name, row in rows.items()}
    longest = min(48, max(len(value) for value in values.values()))
    for name, row in rows.items():
        typer.echo(f"{name:<{width}}  {values[name]:<{longest}}  {row['place'] or row['source']}")


def described(effective: Effective) -> dict[str, dict[str, Any]]:
    """Each setting's value, as JSON has it, and its origin. A secret is only told to be there."""
    rows = {}
    for name, origin in effective.origins.items():
        rows[name] = {
            "value": _plain(getattr(effective.settings, name)),
            "source": origin.kind,
            "place": origin.place or None,
        }
    return rows


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str):
        return _USER.sub(f"//{HIDDEN}@", value)
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
