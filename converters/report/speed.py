"""How fast a loaded model reads and writes. Kernels do not care which tokens they are given."""

import time

from server.runners.base import ModelRunner, Segment

from .figures import PROMPTS

SHORT = 32  # tokens of the prompts before a decode is measured
STEPS, WARM_UP = 40, 4
CONTEXT = SHORT + STEPS + WARM_UP
ROUNDS = 2  # the better one counts: another process may have had the cores in the other
LONG = 20.0  # seconds, after which one round is enough


def prefill(runner: ModelRunner) -> dict[int, float]:
    """Tokens per second by length of the prompt, for those that fit."""
    _prompt(runner, min(SHORT, runner.info.context_length))  # the first pass allocates
    found = {}
    for count in PROMPTS:
        if count <= runner.info.context_length:
            first = _prompt(runner, count)
            seconds = [first] if first > LONG else [first, *(_prompt(runner, count) for _ in range(ROUNDS - 1))]
            found[count] = count / min(seconds)
    return found


def decode(runner: ModelRunner, sequences: int) -> float:
    """Tokens per second of all sequences together."""
    return sequences * STEPS / min(_steps(runner, sequences) for _ in range(ROUNDS))


def _tokens(runner: ModelRunner, count: int, shift: int = 0) -> list[int]:
    return [(shift + 7 * i) % (runner.info.vocab_size - 1) for i in range(count)]


def _prompt(runner: ModelRunner, count: int) -> float:
    """Seconds to the logits of a prompt's last token, in chunks that the engine takes."""
    tokens, info = _tokens(runner, count), runner.info
    chunk = max(info.max_batch_tokens // info.chunk_tokens, 1) * info.chunk_tokens
    began = time.perf_counter()
    for at in range(0, count, chunk):
        part = tokens[at : at + chunk]
        last = at + len(part) == count
        wanted = range(len(part) - 1, len(part)) if last else range(0)
        logits = runner.forward([Segment(0, part, at, wanted, count)])
        if last:
            logits.argmax([0])
    seconds = time.perf_counter() - began
    runner.truncate(0, 0)
    return seconds


def _steps(runner: ModelRunner, sequences: int) -> float:
    """Seconds of STEPS steps after short prompts, each of another text."""
    last = range(SHORT - 1, SHORT)
    batch = [Segment(slot, _tokens(runner, SHORT, 100 * slot), 0, last, CONTEXT) for slot in range(sequences)]
    best = runner.forward(batch).argmax(range(sequences))
    began = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            began = time.perf_counter()
        batch = [Segment(slot, [int(best[slot])], SHORT + step, range(1), CONTEXT) for slot in range(sequences)]
        best = runner.forward(batch).argmax(range(sequences))
    seconds = time.perf_counter() - began
    for slot in range(sequences):
        runner.truncate(slot, 0)
    return seconds
