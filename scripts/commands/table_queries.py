"""`python -m scripts table-queries`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting

EXAMPLE = "python -m scripts table-queries ./queries --requests 1200"


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the two files.")],
    requests: Annotated[int, typer.Option(min=1, help="Requests for a teacher to answer.")] = 1200,
    test: Annotated[int, typer.Option(min=1, help="Examples to measure with.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other requests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the data of the worked distillation: requests about a table for a teacher, and a test with SQL answers."""
    with reporting(as_json=as_json):
        import msgspec

        from converters.appearing import appearing

        from .. import examples
        from ..worked.table_queries import questions

        with appearing(folder) as partial:
            lines = (msgspec.json.encode(question.line) + b"\n" for question in questions("train", requests, seed))
            (partial / "requests.jsonl").write_bytes(b"".join(lines))
            examples.write(partial / "test.jsonl", [question.example for question in questions("test", test, seed)])
    said = f"{folder}: requests.jsonl with {requests} lines for a teacher, test.jsonl with {test} examples."
    typer.echo(json.dumps({"folder": str(folder), "requests": requests, "test": test}) if as_json else said)
