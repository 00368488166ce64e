"""Which commands there are and in which file, so that help and completion import none of them.

A file has a function `register(app)` that adds its commands. What a command is said to do here is the first sentence of
its own help; a test holds both together.
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# panel of the help -> file -> command -> what it does
COMMANDS: dict[str, dict[str, dict[str, str]]] = {
    "Serve": {
        "serve": {"serve": "Serve the OpenAI API on this device."},
        "service": {"service": "Run the server in the background: start, stop, restart, status, logs."},
        "logs": {"logs": "Show what the service logged last."},
        "ps": {"ps": "Show the models that the running server has loaded."},
        "config": {"config": "Show every setting, its value, and where it comes from."},
        "key": {"key": "API keys: who may use a server."},
        "loading": {
            "load": "Load a model in the running server, so that its first request need not wait.",
            "unload": "Unload a model from the running server; its memory returns to the system.",
            "reload": "Let the running server read models.yaml again, without dropping a stream.",
        },
        "foundry_shim": {"foundry-shim": "Put a command named foundry on PATH, for Foundry Local's clients."},
    },
    "Models": {
        "run": {"run": "Ask a model, or talk to it."},
        "pull": {"pull": "Download a model, or go on with a download that was interrupted."},
        "models": {
            "list": "List the models, their variants and which of them are on this device.",
            "show": "Show everything known about a model: its variants, where they come from, and what was pulled.",
            "rm": "Delete the files of a model, of one variant with @VARIANT, and what an interrupted pull of it left.",
            "add": "Register a model or an adapter of your own in the models.yaml of $CUPOLA_HOME.",
        },
        "verify": {"verify": "Read every stored file again and compare it with its hash."},
        "sign": {
            "sign": "Sign every file of a model with your private key.",
            "verify-signature": "Check that a model is signed with a key, and that its files are what was signed.",
        },
        "bom": {"bom": "Print or write a CycloneDX 1.6 ML-BOM: files and hashes, licence, lineage, datasets, quality."},
        "bundle": {"bundle": "Put a model and its server into one file, for a device without a network."},
    },
    "Measure": {
        "doctor": {
            "doctor": "Show what this device has, which engines can use it and how to mend what cannot be used."
        },
        "tune": {"tune": "Measure speed and quality of each variant on this device, and use the best one from now on."},
        "bench": {"bench": "Measure how fast a model reads and writes here, or how a server holds under load."},
        "quality": {"quality": "Measure artifacts: perplexity, divergence from a reference, size, memory, and speed."},
    },
    "Make": {
        "convert": {"convert": "Turn a model into an artifact that an engine serves, with its history written down."},
        "forge": {"forge": "Make a small model good at one task: from data to a new version that passed a gate."},
        "export": {"export": "Write the folder that Microsoft's Foundry Local loads, its prompt template included."},
    },
}


class Listed(TyperCommand):
    """A command that is known by name. `load` imports it."""

    def __init__(self, file: str, name: str, help: str, panel: str) -> None:  # noqa: A002 - click's own word
        super().__init__(name=name, help=help, rich_help_panel=panel)
        self._file = file

    def load(self) -> Any:
        """The command itself."""
        app = typer.Typer(rich_markup_mode="rich")
        import_module(f".{self._file}", __package__).register(app)
        assert self.name is not None
        return typer.main.get_group(app).commands[self.name]


class CommandGroup(TyperGroup):
    """The commands of the list above; the one that is called is imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for panel, files in COMMANDS.items():
            for file, commands in files.items():
                for name, about in commands.items():
                    self.commands[name] = Listed(file, name, about, panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, or whose arguments are completed."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Listed) else command, rest
