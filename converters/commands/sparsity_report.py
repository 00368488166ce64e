"""`python -m converters sparsity-report`."""

from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting

EXAMPLE = "python -m converters sparsity-report llama dense-Q8_0.gguf sparse-Q8_0.gguf"


def command(
    engine: Annotated[str, typer.Argument(help="The engine that runs them: llama, onnx or genai.")],
    dense: Annotated[Path, typer.Argument(help="The artifact to compare with.", exists=True)],
    sparse: Annotated[Path, typer.Argument(help="The same model, pruned with --sparsity 2:4.", exists=True)],
) -> None:
    """Say what the zeros of a sparse model buy on an engine: size, compressed size, speed of decoding."""
    from ..pruning.report import compare

    with reporting(as_json=False) as reporter:
        found = compare(engine, (dense, sparse), reporter.step)
    typer.echo(f"{'on ' + engine:<44}{'MB':>9}{'zlib MB':>10}{'tokens/s':>10}")
    for each in found:
        typer.echo(f"{each.name[-44:]:<44}{each.size / 1e6:>9.1f}{each.compressed / 1e6:>10.1f}{each.decode:>10.1f}")
    before, after = found
    typer.echo(
        f"{'sparse to dense':<44}{after.size / before.size:>8.2f}x{after.compressed / before.compressed:>9.2f}x"
        f"{after.decode / before.decode:>9.2f}x"
    )
