"""A program of commands, one file each: `python -m converters`, `python -m scripts`."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import typer


def build(commands: ModuleType, title: str) -> typer.Typer:
    """Every file of a package that has a `command`, under its name, with its `EXAMPLE`."""
    app = typer.Typer(help=title, no_args_is_help=True, pretty_exceptions_enable=False)
    for found in iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        if hasattr(module, "command"):
            app.command(found.name.replace("_", "-"), epilog=f"Example: {module.EXAMPLE}")(module.command)
    return app
