"""The quality of what a converter made, measured on the engine that will run it."""

from pathlib import Path

from server.hardware.cpu import usable_cores
from server.models import gguf as reader
from server.models.quality import Quality
from server.runners import load_runner
from server.runners.base import Placement

from .quality import measure, prose
from .reference import GgufReference

POSITIONS = 256  # of the bundled text; enough to tell 0.001 from 0.01, and a second's work for a small model


def assess(backend: str, artifact: Path, source: Path, device: str = "cpu") -> Quality:
    """Compare an artifact with a float32 forward of the GGUF file it was made from. Raises LoadFailed, InvalidValue."""
    placement = Placement(threads=usable_cores(), slots=1, context=POSITIONS, device=device)
    runner = load_runner(backend, artifact, placement, lambda _: None)
    try:
        tokens = runner.tokenizer.encode(prose(), special=False)[:POSITIONS]
        return measure(runner, GgufReference(reader.read(source)), tokens)
    finally:
        runner.close()
