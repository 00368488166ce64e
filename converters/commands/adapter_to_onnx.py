"""`python -m converters adapter-to-onnx`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import Adapter, AsJson, Target

EXAMPLE = "python -m converters adapter-to-onnx ./adapter ./base-onnx ./adapter-onnx"


def command(
    source: Adapter,
    base: Annotated[
        Path,
        typer.Argument(metavar="BASE-ONNX", help="The model as gguf-to-onnx made it, in any precision.", exists=True),
    ],
    target: Target,
    as_json: AsJson = False,
) -> None:
    """Make a LoRA of PEFT an .onnx_adapter file, for graphs that take LoRA matrices as inputs."""
    with reporting(as_json=as_json) as reporter:
        from ..adapters import to_onnx

        made = to_onnx(source, base, target)
        line = Line(fraction=1.0, done=True, notes=(f"It changes {made.matrices} matrices of {base.name}.",))
        finish(reporter, line, made.file, as_json=as_json)
