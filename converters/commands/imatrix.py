"""`python -m converters imatrix`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import AsJson, GgufSource

EXAMPLE = "python -m converters imatrix model-F16.gguf model.imatrix.gguf --text my-domain.txt"


def command(
    source: GgufSource,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", dir_okay=False)],
    text: Annotated[
        Path | None, typer.Option(help="A text like what the model will read and write; default: a bundled one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how much each input of a model's matrices matters, for a quantiser to round by."""
    from .. import calibration

    with reporting(as_json=as_json) as reporter:
        calibration.write(source, target, text, reporter.step)
        finish(reporter, Line(fraction=1.0, done=True), target, as_json=as_json)
