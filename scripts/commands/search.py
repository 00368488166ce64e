"""`python -m scripts search`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..reporting import reporting

if TYPE_CHECKING:
    from ..searching.search import Found

EXAMPLE = "python -m scripts search search.yaml --base smollm2 --data ./data -o ./search"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A fine-tuning, and the fields that vary.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where it is written and resumed.")],
    base: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    data: Annotated[Path | None, typer.Option(help="In place of the recipe's.", file_okay=False)] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field of the fine-tuning.")
    ] = None,
    allow_scripts: Annotated[bool, typer.Option("--allow-scripts", help="Run the loss that the recipe names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Try values for fields of a fine-tuning, and keep the best model. Killed, the same command goes on."""
    with reporting(as_json=as_json) as reporter:
        from server.settings import load_settings

        from ..recipe import assigned
        from ..searching.recipe import load

        given = {"base": base, "data": data and str(data.resolve())}
        told = load(recipe, assigned(changes or [], given), allow_scripts=allow_scripts)
        from ..searching.search import search

        found = search(told, recipe, output.resolve(), load_settings(), reporter)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _show(found)


def _show(found: "Found") -> None:
    fields = list(found.best.values)
    table = Table("TRIAL", "STATE", *fields, "LOSS", "SECONDS", box=None)
    for trial in sorted(found.trials, key=lambda trial: float("inf") if trial.loss is None else trial.loss):
        values = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in trial.values.values()]
        loss = "-" if trial.loss is None else f"{trial.loss:.4f}"
        table.add_row(str(trial.number + 1), trial.state, *values, loss, f"{trial.seconds:.0f}")
    Console().print(table)
    typer.echo(f"The best is trial {found.best.number + 1}: {found.report.parent / f'trial-{found.best.number}'}")
    typer.echo(f"Plots: {found.report}")
