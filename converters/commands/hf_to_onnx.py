"""`python -m converters hf-to-onnx`."""

from pathlib import Path
from typing import Annotated

import typer

from server.models.conversion import Line

from ..reporting import finish, reporting
from .parameters import AsJson, Target

EXAMPLE = "python -m converters hf-to-onnx ./my-model ./my-model-onnx --precision int4 --algorithm k_quant"


def command(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder with config.json and safetensors.", file_okay=False)
    ],
    target: Target,
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16, int8 or int4.")] = "int4",
    device: Annotated[str, typer.Option(help="cpu, cuda, dml or webgpu.")] = "cpu",
    block_size: Annotated[int, typer.Option(help="Weights with a scale of their own, of int4 and int8.")] = 32,
    symmetric: Annotated[bool, typer.Option(help="Whether blocks have a scale only, and no zero point.")] = True,
    accuracy_level: Annotated[
        int | None, typer.Option(help="Activations in products: 1 float32, 4 int8; default: 4 on a processor.")
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="rtn, k_quant, k_quant_mixed, k_quant_last, rtn_last.")] = None,
    prune_lm_head: Annotated[bool, typer.Option(help="Compute logits of the last position only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a folder for ONNX Runtime with GenAI's model builder. Needs the extra `convert`."""
    from ..hf_to_onnx import Options, convert

    with reporting(as_json=as_json) as reporter:
        options = Options(
            precision,
            device,
            block_size,
            symmetric,
            accuracy_level,
            algorithm,
            prune_lm_head,
        )
        options.check()
        reporter.step(0.0, source.name)
        made = convert(source, target, options)
        notes = (f"At most {made.peak_memory / 1e9:.1f} GB of memory were used.",) if made.peak_memory else ()
        finish(reporter, Line(fraction=1.0, done=True, notes=notes), target, as_json=as_json)
