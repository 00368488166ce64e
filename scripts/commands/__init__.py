"""One file a command: `command`, a function that typer reads, and `EXAMPLE`."""
