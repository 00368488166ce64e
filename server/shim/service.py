"""`foundry service`: start, stop and ask after the server. SDKs look for the address in what is printed."""

import json
from typing import Annotated, Any

import typer

from .. import service
from ..errors import InvalidValue
from ..settings import Settings, load_settings
from . import remote
from .catalogue import by_id

app = typer.Typer(no_args_is_help=True, help="Start, stop and look at the service.")

LAST_LINES = 50


@app.command()
def start() -> None:
    """Start the service."""
    settings = load_settings()
    found = remote.running(settings)
    if found is not None:
        typer.echo(f"🟢 Service is already running on {found.url}/.")
        return
    remote.started(settings)


@app.command()
def stop() -> None:
    """Stop the service."""
    settings = load_settings()
    if not service.stop(settings) and (found := remote.running(settings)) is not None:
        raise InvalidValue(f"The server on {found.url} was started by hand, as process {found.pid}; end it there.")
    typer.echo("🔴 Service is stopped.")


@app.command()
def restart() -> None:
    """Stop the service and start it."""
    stop()
    start()


@app.command()
def status() -> None:
    """Tell whether the service runs, and where."""
    found = remote.running(load_settings())
    if found is None:
        typer.echo("🔴 Model management service is not running!")
        typer.echo("To start the service, run the following command: foundry service start")
        return
    typer.echo(f"🟢 Model management service is running on {found.url}/openai/status")


@app.command()
def ps() -> None:
    """List the loaded models."""
    server = remote.started(load_settings())
    ids = server.get("/openai/loadedmodels")
    if not ids:
        typer.echo("No models are currently loaded in the service")
        return
    typer.echo("Models running in service:")
    for line in by_id(server.get("/foundry/list"), ids, "🟢 "):
        typer.echo(line)


app.command("list", hidden=True)(ps)


@app.command("set", hidden=True)
def settings_of(
    port: Annotated[int | None, typer.Option(help="Not taken: set CUPOLA_PORT.")] = None,
    cachedir: Annotated[str | None, typer.Option(help="Not taken: set CUPOLA_HOME.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the settings.")] = False,
) -> None:
    """Show the settings; to change one is for the environment."""
    for name, value in (("CUPOLA_PORT", port), ("CUPOLA_HOME", cachedir)):
        if value is not None:
            raise InvalidValue(f"That is a setting: set {name}={value} for every command, then start the service.")
    typer.echo("No settings changed")
    if show:
        typer.echo(json.dumps(_settings(load_settings())))


def _settings(settings: Settings) -> dict[str, Any]:
    """As the service of Foundry Local has them."""
    about = {"host": settings.host, "port": settings.port, "cacheDirectoryPath": str(settings.home), "schema": "http"}
    return {"serviceSettings": about}


@app.command()
def diag(logs: Annotated[bool, typer.Option("--logs", help="Show the end of the log.")] = False) -> None:
    """Show what is known about the service."""
    settings = load_settings()
    status()
    found = remote.running(settings)
    if found is not None:
        for line in _about(remote.Remote(found.url, settings)):
            typer.echo(line)
    typer.echo(f"Cache directory path: {settings.home}")
    typer.echo(f"Log file: {service.log_path(settings)}")
    if logs:
        _show_log(settings)


@app.command()
def logs() -> None:
    """Show the end of the log."""
    _show_log(load_settings())


def _show_log(settings: Settings) -> None:
    for line in service.last_lines(service.log_path(settings), LAST_LINES):
        typer.echo(line)


def _about(server: remote.Remote) -> list[str]:
    said: dict[str, Any] = server.get("/status")
    rows = server.get("/foundry/list")
    providers = dict.fromkeys(row["runtime"]["executionProvider"] for row in rows)
    version = server.get("/version")["version"]
    return [
        f"Cupola {version}, PID {said['pid']}",
        f"Valid EPs: {', '.join(providers)}",
        f"Models: {len(rows)} in the catalogue, {len(server.get('/openai/models'))} cached,"
        f" {len(server.get('/openai/loadedmodels'))} loaded",
    ]
