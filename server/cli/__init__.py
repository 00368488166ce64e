"""The `cupola` command: one file a group of commands, imported when one of them is called."""

import sys
from pathlib import Path

import typer

from .. import __version__
from ..errors import CupolaError
from .listing import CommandGroup

app = typer.Typer(
    name="cupola",
    cls=CommandGroup,
    help="Serve small language models on this device, behind the OpenAI API.",
    epilog="Start with: cupola run smollm2 'What is the capital of France?'",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Serve small language models on this device, behind the OpenAI API."""
    if version:
        typer.echo(f"cupola {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point. An error that Cupola raised on purpose is one line on stderr and an exit status."""
    if Path(sys.argv[0]).stem == "foundry":  # cupola foundry-shim made a copy of the program
        from ..shim.__main__ import main as foundry

        foundry()
        return
    try:
        app(prog_name="cupola")  # also where it was called as python -m server
    except CupolaError as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)
