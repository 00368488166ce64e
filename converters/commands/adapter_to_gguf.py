"""`python -m converters adapter-to-gguf`."""

from pathlib import Path
from typing import Annotated

import typer

from server.errors import CupolaError
from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import Adapter, AsJson, Target

EXAMPLE = "python -m converters adapter-to-gguf ./adapter base.gguf ./adapter-gguf"


def command(
    source: Adapter,
    base: Annotated[
        Path, typer.Argument(metavar="BASE.gguf", help="The model it was trained for, in any precision.", exists=True)
    ],
    target: Target,
    as_json: AsJson = False,
) -> None:
    """Make a LoRA of PEFT a GGUF file that llama.cpp loads beside the model. Needs the extra `convert`."""
    with reporting(as_json=as_json) as reporter:
        from ..adapters import to_gguf

        try:
            made = to_gguf(source, base, target)
        except ModuleNotFoundError:
            raise CupolaError("This converter needs gguf. Install it with: pip install 'cupola[convert]'") from None
        line = Line(fraction=1.0, done=True, notes=(f"It changes {made.matrices} matrices of {base.name}.",))
        finish(reporter, line, made.file, as_json=as_json)
