"""From a GGUF to safetensors, and from those to every artifact: each is made, asked one question, and measured.

    python -P -m bench.round_trip FOLDER [--model smollm2@gguf-q4_1] [--html FILE]

FOLDER keeps the artifacts, each with its record; what is there is not made again. A server asks them; the table is
that of `cupola quality`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from server.models.lineage import read_record
from server.settings import child_environment

CUPOLA = (sys.executable, "-P", "-m", "server")
QUESTION = "Name the capital of France."
NEAR_TIE = "What is the capital of France?"  # the float model itself wavers between English and French here
SYSTEM = "You are a helpful assistant."  # without one SmolLM2's template puts in another, under which Q4_1 wavers
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
def serving(home: Path, artifacts: dict[str, Path]) -> Iterator[httpx.Client]:
    """A server with every artifact as a model of its label."""
    environment = child_environment() | {"CUPOLA_HOME": str(home), "CUPOLA_MAX_MODELS": "1"}
    for label, path in artifacts.items():
        for command in (["add", str(path), "--name", label], ["pull", served(label, path)]):
            subprocess.run([*CUPOLA, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    command = [*CUPOLA, "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def served(label: str, path: Path) -> str:
    """The artifact itself, and not what a pull would make of it for this device."""
    return f"{label}@{'llama' if path.is_file() else 'onnx'}"


def ask(client: httpx.Client, label: str, question: str) -> str:
    """What the artifact answers, greedily."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    body = {"model": label, "messages": messages, "temperature": 0, "max_tokens": 24}
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
    table = Table(
        "ARTIFACT", "TENSORS", QUESTION, NEAR_TIE, title=f"{len(made)} artifacts in {time.monotonic() - started:.0f} s"
    )
    right = True
    with serving(arguments.folder / "home", made) as client:
        for label, path in made.items():
            answer, wavering = (ask(client, served(label, path), question) for question in (QUESTION, NEAR_TIE))
            record = read_record(path.parent if path.is_file() else path)
            mix = record.tensor_types if record else {}
            table.add_row(label, ", ".join(f"{count} {kind}" for kind, count in mix.items()), answer, wavering)
            right &= "Paris" in answer
    Console(width=140).print(table)
    targets = [str(path) for path in made.values()]
    page = ["--html", str(arguments.html)] if arguments.html else []
    status = subprocess.run([*CUPOLA, "quality", *targets, *page], env=child_environment(), check=False).returncode
    sys.exit(status or not right)


if __name__ == "__main__":
    main()
