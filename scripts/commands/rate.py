"""`python -m scripts rate export` and `rate read`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from server.errors import InvalidValue

from ..reporting import reporting

EXAMPLE = (
    "python -m scripts rate export answers-a.jsonl answers-b.jsonl --data ./data --out sheet.csv · rate read sheet.csv"
)


class Action(StrEnum):
    """What is done with a sheet."""

    EXPORT = "export"
    READ = "read"


def command(
    action: Annotated[Action, typer.Argument(help="export: write a sheet to fill in. read: count what was filled in.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Two files of answers; or the sheet.")],
    data: Annotated[Path | None, typer.Option(help="The examples that were answered.")] = None,
    out: Annotated[Path, typer.Option(metavar="SHEET.csv", help="The key is written beside it.")] = Path("sheet.csv"),
    seed: Annotated[int, typer.Option(help="Of the order of rows and answers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let people compare the answers of two models without knowing whose they are, and count the verdicts."""
    with reporting(as_json=as_json):
        from ..evaluation import rating

        if action is Action.EXPORT:
            if len(files) != 2 or data is None:
                raise InvalidValue("rate export takes two files of answers and --data, the examples they answer.")
            written = rating.export((files[0], files[1]), data, out, seed)
            said = f"{written.sheet} has {written.rows} pairs ({written.same} are the same and left out)."
            said += f" Fill in 'better': 1, 2 or =. Keep {written.key} from the raters."
            if written.older:
                said += f" {written.older} answers of older settings or states of a target are left out."
            typer.echo(written.model_dump_json() if as_json else said)
            return
        if len(files) != 1:
            raise InvalidValue("rate read takes one sheet.")
        found = rating.read(files[0])
    if as_json:
        typer.echo(found.model_dump_json())
        return
    for file, wins in zip(found.files, found.wins, strict=True):
        typer.echo(f"{file}: better {wins} times")
    typer.echo(f"ties {found.ties}, not rated {found.unrated}, p={found.p_value:.4f} (exact sign test)")
