"""The bare loop: `runner.forward` and argmax, no scheduler, no server. A fresh process a measurement.

python -P -m bench.bare_loop BACKEND ARTIFACT WORKLOAD_JSON    prints {"seconds", "tokens"}
"""

import json
import sys
import time
from pathlib import Path

from bench.workload import Workload
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement, Segment


def run(runner: ModelRunner, workload: Workload) -> float:
    """Seconds from the first prompt token to the last generated one."""
    prompts = [runner.tokenizer.encode(prompt, special=True) for prompt in workload.prompts]
    began = time.perf_counter()
    lengths = [0] * len(prompts)
    pending = prompts
    for _ in range(workload.tokens):
        batch = [
            Segment(slot, tokens, lengths[slot], range(len(tokens) - 1, len(tokens)))
            for slot, tokens in enumerate(pending)
        ]
        best = runner.forward(batch).argmax(range(len(batch)))
        lengths = [length + len(tokens) for length, tokens in zip(lengths, pending, strict=True)]
        pending = [[int(token)] for token in best]
    return time.perf_counter() - began


def main() -> None:
    backend, artifact, text = sys.argv[1:]
    workload = Workload.from_json(text)
    placement = Placement(threads=workload.threads, slots=max(workload.streams, 8))
    runner = load_runner(backend, Path(artifact), placement, lambda _: None)
    warm_up = Workload(workload.streams, 4, workload.threads)
    run(runner, warm_up)
    for slot in range(workload.streams):
        runner.truncate(slot, 0)
    seconds = run(runner, workload)
    print(json.dumps({"seconds": seconds, "tokens": workload.streams * workload.tokens}))
    runner.close()


if __name__ == "__main__":
    main()
