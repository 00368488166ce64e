"""`python -m converters gguf-to-hf`."""

from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import AsJson, GgufSource, Target

EXAMPLE = "python -m converters gguf-to-hf model.gguf ./model-hf --precision bf16"


def command(
    source: GgufSource,
    target: Target,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    as_json: AsJson = False,
) -> None:
    """Make a folder with safetensors, as transformers loads it; what is quantised becomes floats, no better for it."""
    from ..gguf_to_hf import convert

    with reporting(as_json=as_json) as reporter:
        convert(source, target, precision, reporter.step)
        finish(reporter, Line(fraction=1.0, done=True), target, as_json=as_json)
