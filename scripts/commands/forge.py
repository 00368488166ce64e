"""`python -m scripts forge`, which `cupola forge` runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..reporting import reporting

if TYPE_CHECKING:
    from ..forge.forge import Forged

EXAMPLE = "python -m scripts forge scripts/recipes/device-commands-forge.yaml"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A section for each stage.")],
    work: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of the stages; default: $CUPOLA_HOME/forge/NAME.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field: --set finetune.steps=50")
    ] = None,
    allow_scripts: Annotated[bool, typer.Option("--allow-scripts", help="Run the loss that the recipe names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Data, teaching, training, evaluation, conversion, a gate: what passes becomes the next version of a model.

    What is done is not done again: the same command goes on after a kill, and does what a changed recipe changes.
    """
    with reporting(as_json=as_json) as reporter:
        from server.settings import load_settings

        from ..forge.recipe import load
        from ..recipe import assigned

        told = load(recipe, assigned(changes or [], {}), allow_scripts=allow_scripts)
        from ..forge.forge import forge

        settings = load_settings()
        folder = work or settings.home / "forge" / told.name
        forged = forge(told, recipe.resolve(), folder.resolve(), settings, reporter)
    if as_json:
        typer.echo(forged.model_dump_json())
    else:
        _show(forged)
    if forged.version is None:
        raise typer.Exit(1)


def _show(forged: "Forged") -> None:
    table = Table("STAGE", "SECONDS", "", box=None)
    for stage in forged.stages:
        table.add_row(stage.name, f"{stage.seconds:.0f}", "done before" if stage.cached else "")
    console = Console()
    console.print(table)
    verdict = forged.verdict
    figures = Table(verdict.metric.upper(), "ASKED", "FOUND", "", box=None)
    for check in verdict.checks:
        said = "passed" if check.passed else "failed" if check.required else "left out"
        figures.add_row(check.what, f"{check.asked:.4f}", f"{check.found:.4f}", said)
    console.print(figures)
    typer.echo(f"The base has {verdict.base:.4f}.")
    if forged.version is None:
        typer.echo(f"Nothing was registered. {'; '.join(verdict.reasons)}.")
    else:
        typer.echo(f"{forged.name} is now {forged.version}: {', '.join(forged.variants)}.")
        typer.echo(f"Serve it with: cupola serve {forged.name}")
    typer.echo(f"Report: {forged.report}")
