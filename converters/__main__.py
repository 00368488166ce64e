"""`python -m converters`: one command a converter; the store runs them with `--json`, people without."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from server.errors import CupolaError, InvalidValue
from server.models import gguf as reader
from server.models.conversion import Failure, Line
from server.models.progress import Phase
from server.models.quality import Quality
from server.models.spec import PRECISIONS

from .assessment import assess
from .encoder_to_onnx import convert as convert_encoder
from .gguf_to_onnx import convert

app = typer.Typer(
    help="Turn models into artifacts that an engine serves.", no_args_is_help=True, pretty_exceptions_enable=False
)

Source = Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="The GGUF file.", dir_okay=False)]
Target = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")]
Measured = Annotated[bool, typer.Option("--quality/--no-quality", help="Compare the result with its source.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")]


class Reporter:
    """Tells how far a conversion is: as JSON on stdout, as a bar on a terminal, or not at all."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("Converting", total=1.0) if bar else None

    def step(self, fraction: float, doing: str, phase: Phase = "converting") -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=fraction, description=f"{phase.capitalize()}: {doing}")
        else:
            self.line(Line(phase=phase, fraction=min(max(fraction, 0.0), 1.0)))

    def line(self, line: Line) -> None:
        typer.echo(line.model_dump_json(exclude_defaults=True))


def _end_with_parent() -> None:
    """Wait for the end of stdin, which comes when the parent ends, however it does."""
    while os.read(0, 1 << 10):  # Python's own reader holds a lock, which at the end of the program is an abort
        pass
    os._exit(1)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Errors become the last line and exit status 1. With JSON somebody waits at the other end, and if not, we end."""
    if as_json:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    try:
        if as_json:
            yield Reporter(None)
        else:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                yield Reporter(bar)
    except CupolaError as error:
        if as_json:
            typer.echo(Line(error=Failure(message=error.message)).model_dump_json(exclude_defaults=True))
        else:
            typer.secho(f"Error: {error.message}", fg="red", err=True)
        sys.exit(error.exit_code)


@app.command("gguf-to-onnx", epilog="Example: python -m converters gguf-to-onnx model.gguf ./model-onnx")
def gguf_to_onnx(
    source: Source,
    target: Target,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS["gguf-to-onnx"]))] = "exact",
    quality: Measured = True,
    as_json: AsJson = False,
) -> None:
    """Make a folder for ONNX Runtime. exact keeps every number that 8 bits can hold; int4 is lossy."""
    with reporting(as_json=as_json) as reporter:
        outcome = convert(source, target, precision, reporter.step)  # type: ignore[arg-type]  # the converter checks
        reporter.step(0.0, "quality", "measuring")
        found = assess("onnx", target, source) if quality else None
        rounded, matrices = len(outcome.rounded), count_matrices(source)
        line = Line(
            phase=last_phase(found),
            fraction=1.0,
            done=True,
            rounded=rounded,
            tensors=matrices,
            notes=outcome.notes,
            quality=found,
        )
        finish(reporter, line, target, as_json=as_json)


@app.command("gguf-to-gguf", epilog="Example: python -m converters gguf-to-gguf model.gguf ./smaller --precision q4_0")
def gguf_to_gguf(
    source: Source,
    target: Target,
    precision: Annotated[str, typer.Option(help="A type of llama.cpp: q4_0, q8_0, q4_k_m ...")] = "q4_0",
    quality: Measured = True,
    as_json: AsJson = False,
) -> None:
    """Quantise a GGUF file again, with llama.cpp. Needs the extra `llama`."""
    with reporting(as_json=as_json) as reporter:
        try:
            from .gguf_to_gguf import quantise
        except ModuleNotFoundError:
            raise CupolaError("This converter needs llama.cpp. Install it with: pip install 'cupola[llama]'") from None
        reporter.step(0.0, source.name)
        made = quantise(source, target, precision)
        reporter.step(0.0, "quality", "measuring")
        found = assess("llama", made, source) if quality else None
        matrices = count_matrices(source)
        line = Line(phase=last_phase(found), fraction=1.0, done=True, rounded=matrices, tensors=matrices, quality=found)
        finish(reporter, line, made, as_json=as_json)


@app.command("encoder-to-onnx", epilog="Example: python -m converters encoder-to-onnx ./all-MiniLM-L6-v2 ./minilm-onnx")
def encoder_to_onnx(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder with model.safetensors.", file_okay=False)],
    target: Target,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS["encoder-to-onnx"]))] = "fp32",
    as_json: AsJson = False,
) -> None:
    """Make a folder for ONNX Runtime of a sentence encoder (BERT). Nothing is rounded, so nothing is measured."""
    with reporting(as_json=as_json) as reporter:
        if precision not in PRECISIONS["encoder-to-onnx"]:
            raise InvalidValue(
                f"There is no precision {precision!r}. Known: {', '.join(PRECISIONS['encoder-to-onnx'])}."
            )
        made = convert_encoder(source, target, reporter.step)
        finish(reporter, Line(fraction=1.0, done=True, tensors=made.matrices), target, as_json=as_json)


@app.command("quality", epilog="Example: python -m converters quality onnx ./model-onnx model.gguf")
def quality_of(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="onnx, genai or llama.")],
    artifact: Annotated[Path, typer.Argument(help="What that engine loads.", exists=True)],
    source: Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="What it is compared with.", exists=True)],
    device: Annotated[str, typer.Option(help="What the engine runs on, in the words of models.yaml.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare an artifact with a float32 forward of a GGUF file, on a bundled text."""
    with reporting(as_json=as_json) as reporter:
        reporter.step(0.0, artifact.name, "measuring")
        found = assess(engine, artifact, source, device)
        if as_json:
            reporter.line(Line(fraction=1.0, done=True, quality=found))
        else:
            typer.echo(said(found))


def count_matrices(source: Path) -> int:
    return sum(len(info.shape) > 1 for info in reader.read(source).tensors.values())


def last_phase(quality: Quality | None) -> Phase:
    return "measuring" if quality else "converting"


def finish(reporter: Reporter, line: Line, made: Path, *, as_json: bool) -> None:
    if as_json:
        reporter.line(line)
        return
    typer.echo(f"{made}: {line.rounded} of {line.tensors} matrices are rounded, the others are the file's own numbers.")
    for note in line.notes:
        typer.echo(f"Note: {note}")
    if line.quality is not None:
        typer.echo(said(line.quality))


def said(quality: Quality) -> str:
    return (
        f"Divergence from the {quality.reference}: mean {quality.kl_mean:.2g}, 99th percentile {quality.kl_p99:.2g}"
        f" nats; the same likeliest token in {quality.top1:.1%} of {quality.positions} positions."
    )


if __name__ == "__main__":
    app(prog_name="python -m converters")
