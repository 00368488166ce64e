"""One artifact on one engine with one thread setting, in a process of its own: `python -P -m server.tune.measure`.

A fresh process for each, since thread pools and packed weights of one setting would serve the next. Reads an Order, a
line of JSON, and prints a Speed. It ends with its stdin, and so with its parent, however that ends.
"""

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from ..child.platform import peak_memory
from ..errors import CupolaError
from ..models.tuning import MANY, ONE, SOME
from ..runners import load_runner
from ..runners.base import ModelRunner, Placement, Segment

LONGEST = 512  # tokens of the prompt whose speed is measured
SHORT = 32  # tokens of the prompts before a decode is measured
STEPS, WARM_UP = 40, 4
ROUNDS = 2  # the better one counts: another process may have had the cores in the other


class Order(msgspec.Struct, frozen=True):
    """What to measure."""

    backend: str
    artifact: str
    placement: Placement


class Speed(msgspec.Struct, frozen=True, tag=True):
    """Tokens per second of prompts, and of decoding by number of sequences; seconds; bytes."""

    prefill: float
    decode: dict[int, float]
    load_seconds: float
    memory: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Why nothing was measured."""

    error: str


def measure(order: Order) -> Speed:
    """Load, run and time. Raises LoadFailed."""
    began = time.perf_counter()
    runner = load_runner(order.backend, Path(order.artifact), order.placement, lambda _: None)
    loaded = time.perf_counter() - began
    try:
        _prefill(runner, SHORT)  # the first pass allocates
        prefill = max(_prefill(runner, LONGEST) for _ in range(ROUNDS))
        decode = {count: max(_decode(runner, count) for _ in range(ROUNDS)) for count in (ONE, SOME, MANY)}
        return Speed(prefill, decode, loaded, peak_memory())
    finally:
        runner.close()


def _tokens(runner: ModelRunner, count: int, shift: int = 0) -> list[int]:
    """Ids of a text without meaning; the kernels do not care which ones."""
    return [(shift + 7 * i) % (runner.info.vocab_size - 1) for i in range(count)]


def _prefill(runner: ModelRunner, count: int) -> float:
    tokens = _tokens(runner, count)
    began = time.perf_counter()
    runner.forward([Segment(0, tokens, 0, range(count - 1, count), count)]).argmax([0])
    seconds = time.perf_counter() - began
    runner.truncate(0, 0)
    return count / seconds


def _decode(runner: ModelRunner, sequences: int) -> float:
    """Steps after short prompts, each of another text."""
    longest = SHORT + STEPS + WARM_UP
    last = range(SHORT - 1, SHORT)
    batch = [Segment(slot, _tokens(runner, SHORT, 100 * slot), 0, last, longest) for slot in range(sequences)]
    best = runner.forward(batch).argmax(range(sequences))
    began = 0.0
    for step in range(STEPS + WARM_UP):
        if step == WARM_UP:
            began = time.perf_counter()
        batch = [Segment(slot, [int(best[slot])], SHORT + step, range(1), longest) for slot in range(sequences)]
        best = runner.forward(batch).argmax(range(sequences))
    seconds = time.perf_counter() - began
    for slot in range(sequences):
        runner.truncate(slot, 0)
    return sequences * STEPS / seconds


def _end_with_parent() -> None:
    while os.read(0, 1 << 10):
        pass
    os._exit(1)


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        answer: Speed | Refused = measure(order)
    except CupolaError as error:
        answer = Refused(error.message)
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    main()
