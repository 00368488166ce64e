"""`python -m scripts device-commands`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting

EXAMPLE = "python -m scripts device-commands ./data --train 12000"


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the three files.")],
    train: Annotated[int, typer.Option(min=1, help="Examples to train on.")] = 12_000,
    validation: Annotated[int, typer.Option(min=1, help="Examples to stop by.")] = 200,
    test: Annotated[int, typer.Option(min=1, help="Examples to measure with.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other words and examples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the data of the worked example: device commands in English, each with the JSON call that it means."""
    with reporting(as_json=as_json):
        from converters.appearing import appearing

        from .. import examples
        from ..worked.device_commands import make

        made = make({"train": train, "validation": validation, "test": test}, seed)
        with appearing(folder) as partial:
            for split, found in made.items():
                examples.write(partial / f"{split}.jsonl", found)
    said = f"{folder}: {train} examples to train on, {validation} to stop by, {test} to measure with."
    written = {"folder": str(folder), "train": train, "validation": validation, "test": test}
    typer.echo(json.dumps(written) if as_json else said)
