"""Converters, each run as a program of its own: its memory returns when it ends, and it can be killed.

A converter prints one JSON object a line: how far it is, and last what it made or why it could not.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from ..environment import child_environment
from ..errors import ConversionFailed
from .lineage import RECORD, Record, read_record
from .manifest import Manifest
from .progress import Phase, Progress, Report, ignore
from .quality import Quality
from .spec import DerivedSource


class Failure(BaseModel):
    """Why nothing was made, in a sentence for the user."""

    message: str


class Line(BaseModel):
    """One line of a converter's output."""

    model_config = ConfigDict(extra="ignore")

    phase: Phase = "converting"
    fraction: float = 0.0
    done: bool = False
    rounded: int = 0
    tensors: int = 0
    notes: tuple[str, ...] = ()
    quality: Quality | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a converter made: files by their names in the artifact, and how they differ from the origin.

    The record is no file of it: it has a date, and the same conversion makes the same artifact.
    """

    files: tuple[tuple[str, Path], ...]
    rounded: int
    tensors: int
    notes: tuple[str, ...]
    quality: Quality | None
    record: Record | None


def make(source: DerivedSource, origin: Path, target: Path, base: Manifest, report: Report) -> Made:
    """Run the converter of `source` on the file or folder `origin`; `target` is the folder its files appear in.

    Raises ConversionFailed with the converter's reason, after which nothing it made is left.
    """
    label = f"{base.model}@{base.variant}"
    arguments = [source.converter, str(origin), str(target), "--precision", source.precision]
    last = run(arguments, f"{label} cannot be converted by {source.converter}", label, base.size, report)
    paths = [path for path in sorted(target.rglob("*")) if path.is_file() and path != target / RECORD]
    files = tuple((path.relative_to(target).as_posix(), path) for path in paths)
    return Made(files, last.rounded, last.tensors, last.notes, last.quality, read_record(target))


def measure_quality(backend: str, artifact: Path, source: Path, device: str) -> Quality:
    """How close an artifact on an engine is to a float32 forward of its source. Raises ConversionFailed."""
    arguments = ["quality", backend, str(artifact), str(source), "--device", device]
    last = run(arguments, f"The quality of {artifact.name} cannot be measured", artifact.name, 1, ignore)
    assert last.quality is not None
    return last.quality


def run(arguments: list[str], complaint: str, label: str, size: int, report: Report) -> Line:
    """The last line of a converter that ended well; it is killed when we leave early."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "converters", *arguments, "--json"],
        env=child_environment(),
        stdin=subprocess.PIPE,  # it ends when we do, however we end
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",  # native libraries write what they like
    )
    try:
        assert process.stdout is not None
        last, words = _follow(process.stdout, label, size, report)
        status = process.wait()
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if status or not last.done:
        reason = last.error.message if last.error else words or f"it ended with status {status}"
        raise ConversionFailed(f"{complaint}: {reason[:500]}")
    return last


def _follow(output: IO[str], label: str, size: int, report: Report) -> tuple[Line, str]:
    """Report every line until the program closes its output: the last one of ours, and a library's last words."""
    last, words = Line(), ""
    for text in output:
        try:
            line = Line.model_validate_json(text)
        except ValidationError:
            words = text.strip() or words
            continue
        if line.model_fields_set:  # a library's own JSON has none of these fields
            last = line
            report(Progress(label, int(last.fraction * size), size, last.phase))
    return last, words
