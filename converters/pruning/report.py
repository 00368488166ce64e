"""What zeros buy: the size of two artifacts, plain and compressed, and how fast an engine decodes them.

Both are loaded at once and measured in turns, so that what else the machine does falls on both alike.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from server.hardware.cpu import usable_cores
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement, Segment

ROUNDS, STEPS, PROMPT = 7, 32, 16
CONTEXT = 256
BLOCK = 1 << 20
LEVEL = 6  # of zlib, which gzip, HTTP and wheels use too

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Bought:
    """One artifact: bytes, bytes when compressed, tokens per second of one sequence (the best of the rounds)."""

    name: str
    size: int
    compressed: int
    decode: float


def compare(engine: str, artifacts: tuple[Path, ...], report: Report = lambda *_: None) -> list[Bought]:
    """Measure the artifacts on an engine, on the CPU. Raises LoadFailed and what else its runner raises."""
    speeds = dict.fromkeys(artifacts, 0.0)
    with ExitStack() as stack:
        placement = Placement(threads=usable_cores(), slots=1, context=CONTEXT, device="cpu", spin=False)
        runners = {
            artifact: stack.enter_context(closing(load_runner(engine, artifact, placement, lambda _: None)))
            for artifact in artifacts
        }
        for number in range(ROUNDS):
            report(number / ROUNDS, "decoding")
            for artifact, runner in runners.items():
                speeds[artifact] = max(speeds[artifact], _decode(runner))
    report(1.0, "compressing")
    return [Bought(path.name, *_sizes(path), speed) for path, speed in speeds.items()]


def _decode(runner: ModelRunner) -> float:
    """Tokens per second after a short prompt."""
    longest = PROMPT + STEPS
    tokens = [1 + 7 * place % 200 for place in range(PROMPT)]
    best = runner.forward([Segment(0, tokens, 0, range(PROMPT - 1, PROMPT), longest)]).argmax([0])
    began = perf_counter()
    for step in range(STEPS):
        best = runner.forward([Segment(0, [int(best[0])], PROMPT + step, range(1), longest)]).argmax([0])
    seconds = perf_counter() - began
    runner.truncate(0, 0)
    return STEPS / seconds


def _sizes(artifact: Path) -> tuple[int, int]:
    files = [artifact] if artifact.is_file() else sorted(path for path in artifact.rglob("*") if path.is_file())
    size = compressed = 0
    for path in files:
        packer = zlib.compressobj(LEVEL)
        for block in _blocks(path):
            size += len(block)
            compressed += len(packer.compress(block))
        compressed += len(packer.flush())
    return size, compressed


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
