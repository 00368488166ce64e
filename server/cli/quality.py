"""`cupola quality`: artifacts side by side, by `converters`, in a program of its own."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..environment import child_environment
from ..models.registry import Registry
from ..models.store import Store
from ..settings import Settings, load_settings
from .pull import ensure_pulled

PATIENCE = 10.0  # seconds for the program to end its own and to remove what it wrote


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(
        epilog="Examples: cupola quality smollm2@gguf-q4_1 smollm2@onnx-exact smollm2@onnx-int4 ·"
        " cupola quality model-F16.gguf model-Q4_K_M.gguf ./model-onnx --html report.html ·"
        " cupola quality mine --reference model-F16.gguf --data my-domain.txt --json"
    )(quality)


def quality(
    artifacts: Annotated[
        list[str], typer.Argument(metavar="ARTIFACT...", help="Names (smollm2@onnx-exact), GGUF files, ONNX folders.")
    ],
    reference: Annotated[
        str | None, typer.Option(help="What they are compared with; default: the first. A GGUF is computed in float32.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A text in UTF-8 to measure on; default: a bundled one.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots as well.")] = None,
    tasks: Annotated[str | None, typer.Option(metavar="NAMES", help="Tasks of lm-eval, separated by commas.")] = None,
    tasks_dir: Annotated[Path | None, typer.Option(help="The folder with the tasks' YAML files.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each task; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure artifacts: perplexity, divergence from a reference, size, memory, and speed.

    On this device; takes about a minute each for a small model. Leave the device alone meanwhile.
    """
    settings = load_settings()
    for target in [*artifacts, *([reference] if reference else ())]:
        _ensure_here(settings, target)
    options = {"--reference": reference, "--data": data, "--html": html, "--threads": settings.threads}
    options |= {"--tasks": tasks, "--tasks-dir": tasks_dir, "--limit": limit}
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    command = [sys.executable, "-P", "-m", "converters", "quality-report", "--home", str(settings.home), *given]
    command += [*(["--json"] if as_json else []), "--with-stdin", "--", *artifacts]
    status = _run(command)  # it has said what went wrong
    if status:
        raise typer.Exit(status if status > 0 else 1)


def _run(command: list[str]) -> int:
    """The exit status of a program that ends when its stdin does, and so when we do, however we end."""
    process = subprocess.Popen(command, env=child_environment(), stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        return process.wait()
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()


def _ensure_here(settings: Settings, target: str) -> None:
    """Pull a model that is asked for by name, where nothing of it is here. Raises what a pull does."""
    if Path(target).expanduser().exists() or "/" in target or "\\" in target or target.endswith(".gguf"):
        return
    model, variants = Registry.load(settings.overlay).resolve(target)
    store = Store(settings.home)
    if not any(store.manifest(model, variant) for variant in variants):
        ensure_pulled(settings, target)
