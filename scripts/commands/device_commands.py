"""`python -m scripts device-commands`."""

from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting

EXAMPLE = "python -m scripts device-commands ./data --train 8000"


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the three files.")],
    train: Annotated[int, typer.Option(min=1, help="Examples to train on.")] = 6000,
    validation: Annotated[int, typer.Option(min=1, help="Examples to stop by.")] = 200,
    test: Annotated[int, typer.Option(min=1, help="Examples to measure with.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other words and examples.")] = 0,
) -> None:
    """Write the data of the worked example: device commands in English, each with the JSON call that it means."""
    with reporting(as_json=False):
        from converters.appearing import appearing

        from .. import examples
        from ..worked.device_commands import make

        made = make({"train": train, "validation": validation, "test": test}, seed)
        with appearing(folder) as partial:
            for split, found in made.items():
                examples.write(partial / f"{split}.jsonl", found)
    typer.echo(f"{folder}: {train} examples to train on, {validation} to stop by, {test} to measure with.")
