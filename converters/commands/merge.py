"""`python -m converters merge`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import Adapter, AsJson, Target

EXAMPLE = "python -m converters merge ./checkpoint ./adapter ./merged"


def command(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A Hugging Face folder.", file_okay=False)],
    adapter: Adapter,
    target: Target,
    as_json: AsJson = False,
) -> None:
    """Merge a LoRA of PEFT into its checkpoint: another checkpoint, which every converter takes."""
    with reporting(as_json=as_json) as reporter:
        from ..merge import merge

        made = merge(source, adapter, target, reporter.step)
        line = Line(fraction=1.0, done=True, notes=(f"{made.merged} of {made.tensors} tensors changed.",))
        finish(reporter, line, made.folder, as_json=as_json)
