"""`python -m converters olive`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import AsJson, Target

EXAMPLE = "python -m converters olive recipe.json ./my-model-onnx --model ./my-model"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.json", help="A workflow of Olive.", dir_okay=False)],
    target: Target,
    model: Annotated[Path | None, typer.Option(help="The model to take instead of the recipe's own.")] = None,
    allow_scripts: Annotated[
        bool, typer.Option("--allow-scripts", help="Run scripts and remote code that the recipe names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow of Microsoft Olive whose result is a folder of ONNX Runtime GenAI. Needs the extra `olive`."""
    from ..olive import convert

    with reporting(as_json=as_json) as reporter:
        reporter.step(0.0, recipe.name)
        made = convert(recipe, target, model, allow_scripts=allow_scripts)
        notes = (f"At most {made.peak_memory / 1e9:.1f} GB of memory were used.",) if made.peak_memory else ()
        finish(reporter, Line(fraction=1.0, done=True, notes=notes), target, as_json=as_json)
