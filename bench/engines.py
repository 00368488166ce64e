"""The onnx engine's bare loop against ONNX Runtime GenAI's own loops, on the same weights: best of interleaved rounds.

    python -P -m bench.engines [FOLDER] [--precision int4] [--rounds 3] [--tokens 128] [--threads 2] [--json]

One stream: against a Generator. Eight: against the Engine, which needs logits of every position and gets a twin of the
graph that computes them. Both sides run the same prompts, prefill included. Without a folder the default model is
converted.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import onnx
from onnx import helper

from bench.throughput import bare
from bench.workload import Workload
from converters.gguf_to_onnx import convert
from converters.weights import Precision
from server.models.registry import Registry
from server.models.store import Store
from server.settings import load_settings

RIVALS = {1: "generator", 8: "engine"}


@contextmanager
def folders(given: Path | None, precision: Precision) -> Iterator[tuple[Path, Path]]:
    """The folder to measure, and its twin whose graph computes logits of every position."""
    with tempfile.TemporaryDirectory(prefix="cupola-bench-") as name:
        folder = given or _converted(Path(name) / "model", precision)
        yield folder, _twin(folder, Path(name) / "twin")


def _converted(target: Path, precision: Precision) -> Path:
    settings, registry = load_settings(), Registry.load()
    store = Store(settings.home)
    spec, variants = registry.resolve(registry.default)
    variant = next(variant for variant in variants if variant.format == "gguf")
    convert(store.path(store.pull(spec, variant, settings)), target, precision)
    return target


def _twin(folder: Path, target: Path) -> Path:
    """The same weights under a graph without `logit_positions`; the folder itself if it has none."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    if not any(value.name == "logit_positions" for value in model.graph.input):
        return folder
    target.mkdir()
    asked = next(node for node in model.graph.node if node.output[0] == "asked")
    asked.CopyFrom(helper.make_node("Identity", [asked.input[0]], ["asked"], name=asked.name))
    positions = next(value for value in model.graph.input if value.name == "logit_positions")
    model.graph.input.remove(positions)
    logits = next(value for value in model.graph.output if value.name == "logits")
    logits.type.tensor_type.shape.dim[1].dim_param = "sequence"
    onnx.save_model(model, str(target / "model.onnx"))
    for file in folder.iterdir():
        if file.name != "model.onnx":
            shutil.copyfile(file, target / file.name)
    return target


def rival(loop: str, folder: Path, workload: Workload) -> float:
    """Tokens per second of GenAI."""
    command = [sys.executable, "-P", "-m", "bench.genai_loop", loop, str(folder), workload.to_json()]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return float(result["tokens"] / result["seconds"])


def measure(folder: Path, twin: Path, rounds: int, tokens: int, threads: int) -> list[dict[str, float | str]]:
    """The best of the rounds; the sides take turns."""
    best = {streams: [0.0, 0.0] for streams in RIVALS}
    for _ in range(rounds):
        for streams, loop in RIVALS.items():
            workload = Workload(streams, tokens, threads)
            ours = bare("onnx", folder, workload)
            theirs = rival(loop, twin if loop == "engine" else folder, workload)
            best[streams] = [max(pair) for pair in zip(best[streams], (ours, theirs), strict=True)]
    return [
        {"streams": streams, "rival": RIVALS[streams], "onnx": ours, "genai": theirs, "ratio": ours / theirs}
        for streams, (ours, theirs) in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--precision", choices=get_args(Precision), default="int4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with folders(arguments.folder, arguments.precision) as (folder, twin):
        rows = measure(folder, twin, arguments.rounds, arguments.tokens, arguments.threads)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{arguments.threads} threads, {arguments.tokens} tokens a stream, best of {arguments.rounds} rounds")
    print(f"{'streams':>7} {'onnx':>12} {'GenAI':>12} {'ratio':>6}")
    for row in rows:
        speeds = f"{row['onnx']:>6.0f} tok/s {row['genai']:>6.0f} tok/s {row['ratio']:>5.2f}"
        print(f"{row['streams']:>7} {speeds}  {row['rival']}")


if __name__ == "__main__":
    main()
