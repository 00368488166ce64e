"""`foundry model`: the catalogue, and what is done with a model of it."""

import json
import re
import sys
from typing import Annotated

import typer

from ..errors import InvalidValue
from ..settings import Settings, load_settings
from .catalogue import Row, chosen, kept, require_done, size, table, tasks
from .chat import Chat, converse
from .remote import Remote, at, started

app = typer.Typer(no_args_is_help=True, help="Find, download, load and run models.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Alias or id.")]
Device = Annotated[str | None, typer.Option(help="Auto, CPU, GPU or NPU.")]
Ttl = Annotated[int, typer.Option(min=0, help="Seconds without a request after which it is unloaded.")]


@app.command("list")
def list_models(
    condition: Annotated[
        str | None, typer.Option("--filter", help="device=, task=, alias= or provider=; ! negates, * ends an alias.")
    ] = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only what is on this device.")] = False,
    running: Annotated[bool, typer.Option("--running", "--loaded", help="Only what is loaded.")] = False,
    available: Annotated[bool, typer.Option("--available", hidden=True)] = False,
) -> None:
    """List the models that can run here."""
    del available  # everything listed is
    server = started(load_settings())
    rows = kept(server.get("/foundry/list"), condition)
    for wanted, path in ((cached, "/openai/models"), (running, "/openai/loadedmodels")):
        if wanted:
            ids = set(server.get(path))
            rows = [row for row in rows if row["name"] in ids]
    for line in table(rows):
        typer.echo(line)


app.command("ls", hidden=True)(list_models)


@app.command()
def info(
    model: Model,
    device: Device = None,
    license_only: Annotated[bool, typer.Option("--license", help="Only the licence.")] = False,
) -> None:
    """Show what is known about a model."""
    server, row = _chosen(load_settings(), model, device)
    if license_only:
        typer.echo(row["licenseDescription"])
        return
    said = {
        "Alias": row["alias"],
        "Model ID": row["name"],
        "Device": row["runtime"]["deviceType"],
        "Execution provider": row["runtime"]["executionProvider"],
        "Task": tasks(row),
        "File size": size(row["fileSizeMb"]),
        "Publisher": row["publisher"],
        "License": row["license"],
        "Max output tokens": row["maxOutputTokens"],
        "Cached": "yes" if row["name"] in server.get("/openai/models") else "no",
    }
    for name, value in said.items():
        typer.echo(f"{name + ':':<20} {value}")


@app.command()
def download(
    model: Model,
    device: Device = None,
    force: Annotated[bool, typer.Option("--force", help="Ask again for one that is here.")] = False,
    token: Annotated[str | None, typer.Option(help="Not taken: set CUPOLA_HF_TOKEN and start the service.")] = None,
) -> None:
    """Download a model."""
    if token is not None:
        raise InvalidValue("A token is not sent over HTTP: set CUPOLA_HF_TOKEN, then run: foundry service restart")
    server, row = _chosen(load_settings(), model, device)
    _bring(server, row, force=force)


@app.command()
def load(model: Model, device: Device = None, ttl: Ttl = 600) -> None:
    """Load a model that was downloaded."""
    server, row = _chosen(load_settings(), model, device)
    _load(server, row, ttl)


@app.command()
def unload(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Alias or id.")] = None,
    device: Device = None,
    everything: Annotated[bool, typer.Option("--all", help="Every loaded model.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also one that is in use.")] = False,
) -> None:
    """Unload a model."""
    settings = load_settings()
    if everything or model in {None, "*"}:
        if not everything and model is None:
            raise InvalidValue("Name a model, or say --all.")
        started(settings).get("/openai/unloadall")
        typer.echo("🔴 All models are unloaded.")
        return
    server, row = _chosen(settings, model or "", device)
    if row["name"] not in server.get("/openai/loadedmodels"):
        typer.echo(f"Model {row['name']} is not loaded.")
        return
    server.get(at("/openai/unload", row["name"]) + f"?force={str(force).lower()}")
    typer.echo(f"🔴 Model {row['name']} unloaded successfully")


app.command("stop", hidden=True)(unload)


@app.command()
def run(
    model: Model,
    words: Annotated[str | None, typer.Argument(metavar="PROMPT", help="The question; none: a conversation.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The same as an option.")] = None,
    device: Device = None,
    ttl: Ttl = 600,
    retain: Annotated[str, typer.Option(hidden=True)] = "true",
    verbose: Annotated[bool, typer.Option("--verbose", help="Show how fast the answer came.")] = False,
) -> None:
    """Talk to a model; it is downloaded and loaded if need be. Others stay loaded while there is room."""
    del retain  # the server decides what there is room for
    server, row = _chosen(load_settings(), model, device)
    _bring(server, row, force=False)
    _load(server, row, ttl)
    chat = Chat(server, row["name"], verbose=verbose)
    question = prompt if prompt is not None else words
    if question is None:
        converse(chat)
    else:
        chat.ask(question)


app.command("chat", hidden=True)(run)


def _chosen(settings: Settings, name: str, device: str | None) -> tuple[Remote, Row]:
    server = started(settings)
    return server, chosen(server.get("/foundry/list"), name, device, settings)


def _bring(server: Remote, row: Row, *, force: bool) -> None:
    if not force and row["name"] in server.get("/openai/models"):
        typer.echo(f"Model {row['name']} was found in the local cache.")
        return
    typer.echo(f"Downloading {row['name']}...")
    result: object = None
    for line in server.lines("/openai/download", {"model": {"Name": row["name"]}}):
        if line.startswith("{"):
            result = json.loads(line)
        elif found := re.search(r"(\d+(?:\.\d+)?)%", line):
            _draw(float(found[1]))
    require_done(result)
    typer.echo(f"🟢 Model {row['name']} downloaded successfully")


def _draw(percent: float) -> None:
    """A bar that grows in a terminal; elsewhere its last state alone."""
    bar = f"[{'#' * round(percent * 0.36):<36}] {percent:.2f} %"
    if percent >= 100:
        typer.echo(f"\r{bar}" if sys.stdout.isatty() else bar)
    elif sys.stdout.isatty():
        typer.echo(f"\r{bar}", nl=False)


def _load(server: Remote, row: Row, ttl: int) -> None:
    typer.echo("🕓 Loading model...")
    server.get(at("/openai/load", row["name"]) + f"?ttl={ttl}")
    typer.echo(f"🟢 Model {row['name']} loaded successfully")
