"""`python -m converters hf-to-gguf`."""

from pathlib import Path
from typing import Annotated

import typer

from server.errors import CupolaError
from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import AsJson, Target

EXAMPLE = "python -m converters hf-to-gguf ./checkpoint ./model-gguf --precision q8_0"


def command(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A Hugging Face folder.", file_okay=False)],
    target: Target,
    precision: Annotated[str, typer.Option(help="f32, f16, bf16, q8_0, or auto: the checkpoint's own.")] = "f16",
    as_json: AsJson = False,
) -> None:
    """Make a GGUF file of safetensors, as llama.cpp's own converter does. Needs the extra `convert`."""
    with reporting(as_json=as_json) as reporter:
        try:
            from ..hf_to_gguf import convert
        except ModuleNotFoundError:
            raise CupolaError("This converter needs gguf. Install it with: pip install 'cupola[convert]'") from None
        made = convert(source, target, precision, reporter.step)
        line = Line(fraction=1.0, done=True, rounded=made.rounded, tensors=made.matrices)
        finish(reporter, line, made.file, as_json=as_json)
