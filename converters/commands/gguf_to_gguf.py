"""`python -m converters gguf-to-gguf`."""

from typing import Annotated

import typer

from server.errors import CupolaError
from server.models import gguf as reader
from server.models.conversion import Line

from ..reporting import finish, last_phase, reporting
from .parameters import AsJson, GgufSource, Measured, Target

EXAMPLE = "python -m converters gguf-to-gguf model.gguf ./smaller --precision q4_k_m --imatrix auto"


def command(
    source: GgufSource,
    target: Target,
    precision: Annotated[str, typer.Option(help="A type of llama.cpp: q4_0, q8_0, q4_k_m ...")] = "q4_0",
    imatrix: Annotated[
        str | None, typer.Option(help="An importance matrix: a file, or 'auto' to compute one on a bundled text.")
    ] = None,
    token_embedding_type: Annotated[
        str | None, typer.Option(help="A type of its own for the token embedding: q8_0, q6_k ...")
    ] = None,
    output_type: Annotated[str | None, typer.Option(help="The same for the output matrix, or the tied one.")] = None,
    quality: Measured = True,
    as_json: AsJson = False,
) -> None:
    """Quantise a GGUF file, with llama.cpp. Needs the extra `llama`."""
    from .. import calibration, manifest
    from ..assessment import assess

    with reporting(as_json=as_json) as reporter:
        try:
            from .. import quantize
        except ModuleNotFoundError:
            raise CupolaError("This converter needs llama.cpp. Install it with: pip install 'cupola[llama]'") from None
        quantize.check(precision, importance=imatrix is not None)
        importance, dataset = calibration.importance(source, imatrix, reporter.step)
        reporter.step(0.0, source.name)
        ends = quantize.Ends(token_embedding_type, output_type)
        made = quantize.convert(source, target, precision, importance, dataset, ends)
        reporter.step(0.0, "quality", "measuring")
        found = assess("llama", made.file, source) if quality else None
        if found is not None:
            manifest.add_quality(target, found)
        matrices = reader.read(source).matrices
        line = Line(phase=last_phase(found), fraction=1.0, done=True, rounded=matrices, tensors=matrices, quality=found)
        finish(reporter, line, made.file, as_json=as_json)
