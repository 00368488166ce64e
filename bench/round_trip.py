"""From a GGUF to safetensors, and from those to every artifact: each is made, asked one question, and measured.

    python -P -m bench.round_trip FOLDER [--model smollm2@gguf-q4_1] [--html FILE]

FOLDER keeps the artifacts, each with its record; what is there is not made again. A server asks them; the table is
that of `cupola quality`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from converters.serving import CUPOLA, offer, serving
from server.environment import child_environment
from server.models.lineage import read_record
from server.models.registry import Registry
from server.settings import load_settings

QUESTION = "What is the capital of France?"
ONNX = {"fp16": "cuda", "int8": "cpu", "int4": "cpu"}  # the builder makes fp16 for GPUs; a CPU runs it, slowly
PLAIN = ("f32", "f16", "q8_0", "q5_k_m", "q4_k_m", "q4_0")
WEIGHED = ("q8_0", "q5_k_m", "q4_k_m", "q4_0")


def make(model: str, folder: Path) -> dict[str, Path]:
    """Label -> artifact of every conversion. Each is a process of `cupola convert`, as a user would run it."""
    checkpoint = folder / "checkpoint"
    _convert(model, checkpoint, "hf")
    made: dict[str, Path] = {}
    for precision in PLAIN:
        made[precision] = _convert(str(checkpoint), folder / precision, "gguf", "--precision", precision)
    for precision in WEIGHED:
        target = folder / f"{precision}-imatrix"
        made[target.name] = _convert(str(checkpoint), target, "gguf", "--precision", precision, "--imatrix", "auto")
    for precision, device in ONNX.items():
        target = folder / f"onnx-{precision}"
        made[target.name] = _convert(str(checkpoint), target, "onnx", "--precision", precision, "--device", device)
    return made


def _convert(source: str, target: Path, to: str, *options: str) -> Path:
    """The artifact: the file of a GGUF, the folder of all else."""
    if not target.exists():
        command = [*CUPOLA, "convert", source, "--to", to, *options, "-o", f"{target}/"]
        subprocess.run(command, env=child_environment(), check=True, stdout=subprocess.DEVNULL)
    return next(target.glob("*.gguf")) if to == "gguf" else target


@contextmanager
def serving_all(folder: Path, artifacts: dict[str, Path]) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A server with every artifact as a model of its label, and what each is called there.

    Its home, into which they are copied, is in `folder`, and gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="home-", dir=folder) as home:
        models = {
            label: offer(Path(home), label, str(path), "llama" if path.is_file() else "onnx", label)
            for label, path in artifacts.items()
        }
        with (
            serving("The server", Path(home), max_models="1") as server,
            httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client,
        ):
            yield client, models


def ask(client: httpx.Client, model: str, system: str | None) -> str:
    """What the artifact answers, greedily, with the system message that `cupola convert -o NAME` serves it with."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": QUESTION})
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 24}
    response = client.post("/v1/chat/completions", json=body).raise_for_status()
    answer: str = response.json()["choices"][0]["message"]["content"]
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps the artifacts; those that are there are not made again")
    parser.add_argument("--model", default="smollm2@gguf-q4_1", help="the GGUF to begin with")
    parser.add_argument("--html", type=Path, help="write a page with plots as well")
    arguments = parser.parse_args()
    started = time.monotonic()
    made = make(arguments.model, arguments.folder)
    table = Table("ARTIFACT", "TENSORS", QUESTION, title=f"{len(made)} artifacts in {time.monotonic() - started:.0f} s")
    system, right = Registry.load(load_settings().overlay).resolve(arguments.model)[0].system, True
    with serving_all(arguments.folder, made) as (client, models):
        for label, path in made.items():
            answer = ask(client, models[label], system)
            record = read_record(path.parent if path.is_file() else path)
            mix = record.tensor_types if record else {}
            table.add_row(label, ", ".join(f"{count} {kind}" for kind, count in mix.items()), answer)
            right &= "Paris" in answer
    Console(width=140).print(table)
    targets = [str(path) for path in made.values()]
    page = ["--html", str(arguments.html)] if arguments.html else []
    status = subprocess.run([*CUPOLA, "quality", *targets, *page], env=child_environment(), check=False).returncode
    sys.exit(status or not right)


if __name__ == "__main__":
    main()
