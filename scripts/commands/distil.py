"""`python -m scripts distil`."""

from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting
from .finetune import say

EXAMPLE = "python -m scripts distil recipe.yaml --teacher smollm2 --base ./SmolLM2-20 --data ./data -o ./student"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="Student, teacher, data, and how they meet.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where it is written and resumed.")],
    teacher: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    base: Annotated[str | None, typer.Option(help="The student, in place of the recipe's.")] = None,
    data: Annotated[Path | None, typer.Option(help="In place of the recipe's.", file_okay=False)] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field: --set logits.share=0.9")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Train a student on its teacher's distributions and hidden states. Both have to share a vocabulary.

    A student with another vocabulary learns from the teacher's text: teach, then finetune.
    """
    with reporting(as_json=as_json) as reporter:
        from server.settings import load_settings

        from ..distillation.recipe import load
        from ..recipe import assigned

        given = {"base": base, "teacher": teacher, "data": data and str(data.resolve())}
        told = load(recipe, assigned(changes or [], given))
        from ..distillation.distil import distil

        made = distil(told, output.resolve(), load_settings(), reporter)
    say(made, as_json=as_json)
