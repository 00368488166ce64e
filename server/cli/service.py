"""`cupola service`: the server in the background, until it is told to end."""

import json
from typing import Annotated, Any

import typer

from .. import service
from ..settings import Settings, load_settings
from . import logs
from .arguments import AsJson, model_names

EXAMPLES = "Examples: cupola service start smollm2 · cupola service status --json · cupola service logs --follow"
NOT_RUNNING = 3  # what LSB's init scripts say; 1 and 2 mean that it died

Preload = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL", help="Models to load at once.", autocompletion=model_names),
]

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file, with its own."""
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    commands.command(epilog="Examples: cupola service start · cupola service start smollm2 --port 8080")(start)
    commands.command(epilog="Examples: cupola service stop · cupola service stop --json")(stop)
    commands.command(epilog="Examples: cupola service restart · cupola service restart smollm2 --port 8080")(restart)
    commands.command(epilog="Examples: cupola service status · cupola service status --json")(status)
    commands.command("logs", epilog="Examples: cupola service logs --lines 100 · cupola service logs --follow")(
        logs.logs
    )
    about = "Run the server in the background: start, stop, restart, status, logs."
    app.add_typer(commands, name="service", help=about, epilog=EXAMPLES)


def start(preload: Preload = None, host: Host = None, port: Port = None, as_json: AsJson = False) -> None:
    """Start the server in the background and wait until it answers. Does nothing where it runs already."""
    settings = load_settings(host=host, port=port)
    running = service.start(settings, tuple(preload or ()))
    if as_json:
        typer.echo(json.dumps({**_described(running), "started": running.begun}, indent=2))
    elif running.begun:
        typer.echo(f"Cupola serves on {running.url} (process {running.pid}). End it with: cupola service stop")
    else:
        hint = f"; load more with: cupola load {preload[0]}" if preload else ""
        typer.echo(f"Cupola serves already, on {running.url} (process {running.pid}){hint}")


def stop(as_json: AsJson = False) -> None:
    """End the server: streams get their grace, then it is killed."""
    stopped = service.stop(load_settings())
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}, indent=2))
    else:
        typer.echo("Stopped." if stopped else "The service does not run.")


def restart(preload: Preload = None, host: Host = None, port: Port = None, as_json: AsJson = False) -> None:
    """End the server and start it with the settings as they are now.

    What was said to `start` is forgotten: say it again, or make a setting of it.
    """
    service.stop(load_settings(host=host, port=port))
    start(preload, host, port, as_json=as_json)


def status(as_json: AsJson = False) -> None:
    """Say whether the service runs and where. The exit status is 3 where it does not."""
    settings = load_settings()
    running = service.status(settings)
    if as_json:
        typer.echo(json.dumps(_described(running), indent=2))
    elif running is not None:
        state = "and answers" if service.answers(running.url) else "but does not answer"
        typer.echo(f"Cupola runs on {running.url} (process {running.pid}) {state}. Its log: {running.log}")
    else:
        typer.echo(f"The service does not run. {_stranger(settings) or 'Start it with: cupola service start'}")
    if running is None:
        raise typer.Exit(NOT_RUNNING)


def _stranger(settings: Settings) -> str:
    """A server that somebody started otherwise is not the service's to end."""
    found = settings.port and service.answers(settings.url)
    return f"A server that was started otherwise answers on {settings.url}." if found else ""


def _described(running: service.Running | None) -> dict[str, Any]:
    if running is None:
        return {"running": False}
    answering = service.answers(running.url)
    return {"running": True, "answers": answering, "pid": running.pid, "url": running.url, "log": str(running.log)}
