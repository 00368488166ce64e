"""`python -m converters`: one command a converter; the store runs them with `--json`, people without."""

from importlib import import_module
from pkgutil import iter_modules

import typer

from . import commands


def build() -> typer.Typer:
    """Every file in `commands` that has a command."""
    app = typer.Typer(
        help="Turn models into artifacts that an engine serves.", no_args_is_help=True, pretty_exceptions_enable=False
    )
    for found in iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        if hasattr(module, "command"):
            app.command(found.name.replace("_", "-"), epilog=f"Example: {module.EXAMPLE}")(module.command)
    return app


if __name__ == "__main__":
    build()(prog_name="python -m converters")
