"""`python -m converters gguf-to-onnx`."""

from typing import Annotated

import typer

from server.models import gguf as reader
from server.models.conversion import Line
from server.models.spec import PRECISIONS

from ..reporting import finish, last_phase, reporting
from .parameters import AsJson, GgufSource, Measured, Target

EXAMPLE = "python -m converters gguf-to-onnx model.gguf ./model-onnx"


def command(
    source: GgufSource,
    target: Target,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS["gguf-to-onnx"]))] = "exact",
    quality: Measured = True,
    as_json: AsJson = False,
) -> None:
    """Make a folder for ONNX Runtime. exact keeps every number that 8 bits can hold; int4 is lossy."""
    from .. import manifest
    from ..assessment import assess
    from ..gguf_to_onnx import convert

    with reporting(as_json=as_json) as reporter:
        outcome = convert(source, target, precision, reporter.step)  # type: ignore[arg-type]  # the converter checks
        reporter.step(0.0, "quality", "measuring")
        found = assess("onnx", target, source) if quality else None
        if found is not None:
            manifest.add_quality(target, found)
        line = Line(
            phase=last_phase(found),
            fraction=1.0,
            done=True,
            rounded=len(outcome.rounded),
            tensors=reader.read(source).matrices,
            notes=outcome.notes,
            quality=found,
        )
        finish(reporter, line, target, as_json=as_json)
