"""Server throughput against the bare loop on the same artifact: best of interleaved rounds, as ratios.

    python -P -m bench.throughput [--model smollm2@onnx-exact] [--rounds 3] [--tokens 128] [--json]   (make bench)

The bare loop is `runner.forward` and argmax in a fresh process: no scheduler, no pipe, no HTTP. Both sides run the same
prompts (prefill included, no prefix reuse), threads and token counts, greedily.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import client
from bench.workload import Workload
from server.cli.choosing import open_chooser
from server.cli.pull import ensure_pulled
from server.models.store import Store
from server.settings import Settings, load_settings


@contextmanager
def server(settings: Settings, model: str, threads: int) -> Iterator[str]:
    """A server process with the model loaded; its address."""
    environment = dict(os.environ) | {"CUPOLA_HOME": str(settings.home), "CUPOLA_THREADS": str(threads)}  # noqa: TID251
    command = [sys.executable, "-P", "-m", "server", "serve", model, "--port", "0", "--log-level", "warning"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        with httpx.Client(base_url=url, trust_env=False, timeout=120) as http:
            http.post("/v1/completions", json={"model": model, "prompt": "Hello", "max_tokens": 4}).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def bare(backend: str, artifact: Path, workload: Workload) -> float:
    """Tokens per second of the bare loop."""
    command = [sys.executable, "-P", "-m", "bench.bare_loop", backend, str(artifact), workload.to_json()]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return float(result["tokens"] / result["seconds"])


def served(url: str, model: str, workload: Workload) -> float:
    """Tokens per second as a client counts them."""
    seconds, streams = client.run(url, model, workload)
    assert all(stream.tokens == workload.tokens for stream in streams), "a stream ended early"
    return workload.streams * workload.tokens / seconds


def measure(settings: Settings, model: str, rounds: int, tokens: int, threads: int) -> list[dict[str, float]]:
    """The best of the rounds for each number of streams; the two sides take turns."""
    _, choices = open_chooser(settings).serving(model)
    manifest, backend = choices[0].candidate.manifest, choices[0].variant.backend
    assert manifest is not None
    artifact = Store(settings.home).path(manifest)
    best: dict[int, dict[str, float]] = {}
    with server(settings, model, threads) as url:
        for _ in range(rounds):
            for streams in (1, 8):
                workload = Workload(streams, tokens, threads)
                row = best.setdefault(streams, {"streams": streams, "bare": 0.0, "served": 0.0})
                row["bare"] = max(row["bare"], bare(backend, artifact, workload))
                row["served"] = max(row["served"], served(url, model, workload))
    return [row | {"ratio": row["served"] / row["bare"]} for row in best.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2", help="name, with @VARIANT or @ENGINE to choose one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = load_settings()
    model: str = arguments.model
    ensure_pulled(settings, model)
    rows = measure(settings, model, arguments.rounds, arguments.tokens, arguments.threads)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(
        f"{model}, {arguments.threads} threads, {arguments.tokens} tokens a stream, best of {arguments.rounds} rounds"
    )
    print(f"{'streams':>7} {'bare loop':>12} {'server':>12} {'ratio':>7}")
    for row in rows:
        print(f"{row['streams']:>7} {row['bare']:>6.0f} tok/s {row['served']:>6.0f} tok/s {row['ratio']:>6.1%}")


if __name__ == "__main__":
    main()
