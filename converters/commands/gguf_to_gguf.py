"""`python -m converters gguf-to-gguf`."""

from typing import Annotated

import typer

from server.errors import CupolaError
from server.models import gguf as reader
from server.models.conversion import Line

from ..reporting import finish, last_phase, reporting
from .parameters import AsJson, GgufSource, Measured, Target

EXAMPLE = "python -m converters gguf-to-gguf model.gguf ./smaller --precision q4_0"


def command(
    source: GgufSource,
    target: Target,
    precision: Annotated[str, typer.Option(help="A type of llama.cpp: q4_0, q8_0, q4_k_m ...")] = "q4_0",
    quality: Measured = True,
    as_json: AsJson = False,
) -> None:
    """Quantise a GGUF file again, with llama.cpp. Needs the extra `llama`."""
    from ..assessment import assess

    with reporting(as_json=as_json) as reporter:
        try:
            from ..gguf_to_gguf import quantise
        except ModuleNotFoundError:
            raise CupolaError("This converter needs llama.cpp. Install it with: pip install 'cupola[llama]'") from None
        reporter.step(0.0, source.name)
        made = quantise(source, target, precision)
        reporter.step(0.0, "quality", "measuring")
        found = assess("llama", made, source) if quality else None
        matrices = reader.read(source).matrices
        line = Line(phase=last_phase(found), fraction=1.0, done=True, rounded=matrices, tensors=matrices, quality=found)
        finish(reporter, line, made, as_json=as_json)
