"""`python -m converters quality`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import reporting, said
from .parameters import AsJson

EXAMPLE = "python -m converters quality onnx ./model-onnx model.gguf"


def command(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="onnx, genai or llama.")],
    artifact: Annotated[Path, typer.Argument(help="What that engine loads.", exists=True)],
    source: Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="What it is compared with.", exists=True)],
    device: Annotated[str, typer.Option(help="What the engine runs on, in the words of models.yaml.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare an artifact with a float32 forward of a GGUF file, on a bundled text."""
    from ..assessment import assess

    with reporting(as_json=as_json) as reporter:
        reporter.step(0.0, artifact.name, "measuring")
        found = assess(engine, artifact, source, device)
        if as_json:
            reporter.line(Line(fraction=1.0, done=True, quality=found))
        else:
            typer.echo(said(found))
