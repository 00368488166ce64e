"""`python -m scripts finetune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..reporting import reporting

if TYPE_CHECKING:
    from ..finetuning.train import Trained

EXAMPLE = "python -m scripts finetune scripts/recipes/device-commands.yaml --base smollm2 --data ./data -o ./tuned"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The base, the data, the method, the rest.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where it is written and resumed.")],
    base: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    data: Annotated[Path | None, typer.Option(help="In place of the recipe's.", file_okay=False)] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field: --set lora.rank=8")
    ] = None,
    allow_scripts: Annotated[bool, typer.Option("--allow-scripts", help="Run the loss that the recipe names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Train a checkpoint, or an adapter for it, on examples. Killed, the same command goes on where it was.

    On several processes or GPUs: torchrun --nproc-per-node 2 -m scripts finetune ...
    """
    with reporting(as_json=as_json) as reporter:
        from server.settings import load_settings

        from ..finetuning.recipe import load
        from ..recipe import assigned

        given = {"base": base, "data": data and str(data.resolve())}
        told = load(recipe, assigned(changes or [], given), allow_scripts=allow_scripts)
        from ..finetuning.train import train

        made = train(told, output.resolve(), load_settings(), reporter)
    say(made, as_json=as_json)


def say(made: "Trained", *, as_json: bool) -> None:
    """What came of a training, by one of its processes."""
    from ..finetuning.processes import processes

    if not processes().is_main_process:
        return
    if as_json:
        typer.echo(made.model_dump_json())
        return
    stopped = "" if made.steps == made.of else f", stopped early of {made.of}"
    typer.echo(f"{made.model}: {made.method}, {made.steps} steps{stopped}, {made.seconds:.0f} s, {made.precision}.")
    typer.echo(f"Trained {made.trained_parameters:,} of {made.parameters:,} parameters.")
    typer.echo(f"Validation loss {made.validation_before:.4f} before, {made.validation:.4f} after.")
