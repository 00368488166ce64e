"""Parameters that commands share."""

from pathlib import Path
from typing import Annotated

import typer

GgufSource = Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="The GGUF file.", dir_okay=False)]
Target = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")]
Adapter = Annotated[
    Path, typer.Argument(metavar="ADAPTER", help="A folder of PEFT with a LoRA in safetensors.", file_okay=False)
]
Measured = Annotated[bool, typer.Option("--quality/--no-quality", help="Compare the result with its source.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")]
