"""`python -m converters encoder-to-onnx`."""

from pathlib import Path
from typing import Annotated

import typer

from server.errors import InvalidValue
from server.models.conversion import Line
from server.models.spec import PRECISIONS

from ..reporting import finish, reporting
from .parameters import AsJson, Target

EXAMPLE = "python -m converters encoder-to-onnx ./all-MiniLM-L6-v2 ./minilm-onnx"


def command(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder with model.safetensors.", file_okay=False)],
    target: Target,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS["encoder-to-onnx"]))] = "fp32",
    as_json: AsJson = False,
) -> None:
    """Make a folder for ONNX Runtime of a sentence encoder (BERT). Nothing is rounded, so nothing is measured."""
    from ..encoder_to_onnx import convert

    with reporting(as_json=as_json) as reporter:
        known = PRECISIONS["encoder-to-onnx"]
        if precision not in known:
            raise InvalidValue(f"There is no precision {precision!r}. Known: {', '.join(known)}.")
        made = convert(source, target, reporter.step)
        finish(reporter, Line(fraction=1.0, done=True, tensors=made.matrices), target, as_json=as_json)
