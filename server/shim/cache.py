"""`foundry cache`: what is on this device, and where."""

from typing import Annotated

import typer

from ..errors import InvalidValue
from ..settings import load_settings
from .catalogue import by_id, chosen
from .remote import at, started

app = typer.Typer(no_args_is_help=True, help="Look at the models on this device, and delete them.")


@app.command()
def location() -> None:
    """Tell where the models are."""
    typer.echo(f"💾 Cache directory path: {load_settings().home}")


@app.command("list")
def list_cached() -> None:
    """List the models on this device."""
    server = started(load_settings())
    ids = server.get("/openai/models")
    if not ids:
        typer.echo("No models are cached on this device. Get one with: foundry model download smollm2")
        return
    typer.echo("Models cached on device:")
    for line in by_id(server.get("/foundry/list"), ids, "💾"):
        typer.echo(line)


app.command("ls", hidden=True)(list_cached)


@app.command()
def cd(path: Annotated[str, typer.Argument(help="The folder.")]) -> None:
    """Tell how to keep the models elsewhere."""
    raise InvalidValue(f"The folder is a setting: set CUPOLA_HOME={path} for every command, then start the service.")


@app.command()
def remove(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Alias or id; * for all.")] = None,
    device: Annotated[str | None, typer.Option(help="Auto, CPU, GPU or NPU.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model on this device.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model's files; it is unloaded first."""
    from ..cli.models import remove as remove_files  # heavy, and a look at the status has to be quick

    settings = load_settings()
    server = started(settings)
    rows, here = server.get("/foundry/list"), server.get("/openai/models")
    if everything or model == "*":
        # A model without files, of demonstrations and tests, is always here.
        ids = [row["name"] for row in rows if row["name"] in here and row["uri"] != "cupola://fake@weightless"]
    elif model is None:
        raise InvalidValue("Name a model, or say --all.")
    else:
        ids = [chosen(rows, model, device, settings)["name"]]
    if not yes:
        typer.confirm(f"Delete {', '.join(ids) or 'nothing'}?", abort=True)
    for name in ids:
        server.get(at("/openai/unload", name))
        remove_files(name)


app.command("rm", hidden=True)(remove)
