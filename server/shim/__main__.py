"""The program itself: `python -m server.shim`, which the launcher named `foundry` runs."""

import io
import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import CupolaError
from . import cache, model, service

app = typer.Typer(
    name="foundry",
    help="Cupola under the command of Foundry Local. What it does not have, cupola has: cupola --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(model.app, name="model")
app.add_typer(service.app, name="service")
app.add_typer(cache.app, name="cache")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Cupola under the command of Foundry Local."""
    if version:
        typer.echo(f"{__version__}+cupola")
        raise typer.Exit


def main() -> None:
    """Entry point. Clients read the output as UTF-8, whatever the terminal has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        app(prog_name="foundry")
    except CupolaError as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
