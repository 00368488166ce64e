"""The `cupola` command: one file a group of commands."""

import sys

import typer

from .. import __version__
from ..errors import CupolaError
from . import bom, config, convert, doctor, export, forge, key, models, ps, pull, quality, run, serve, sign, tune

app = typer.Typer(
    name="cupola",
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


serve.register(app)
run.register(app)
pull.register(app)
models.register(app)
ps.register(app)
doctor.register(app)
config.register(app)
key.register(app)
tune.register(app)
convert.register(app)
quality.register(app)
forge.register(app)
export.register(app)
bom.register(app)
sign.register(app)


def main() -> None:
    """Entry point. An error that Cupola raised on purpose is one line on stderr and an exit status."""
    try:
        app()
    except CupolaError as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)
