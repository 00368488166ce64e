"""`cupola convert`, as a person runs it, on the default model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from converters.gguf_to_hf import convert as to_checkpoint

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def checkpoint(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "smollm2"
    to_checkpoint(real_model, folder)
    return folder


def cupola(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "server", *arguments],
        capture_output=True,
        check=False,
        text=True,
        env={"CUPOLA_HOME": str(home), "PATH": "/usr/bin:/bin"},
        timeout=380,
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("small-gguf", ["--to", "gguf", "--precision", "q8_0"]),
        ("small-onnx", ["--to", "onnx", "--precision", "int8"]),
    ],
)
def test_a_checkpoint_becomes_a_model_that_answers(
    checkpoint: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    made = cupola(tmp_path, "convert", str(checkpoint), *options, "-o", name, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["model"] == name
    assert told["record"]["steps"][0]["tool"] == "gguf-to-hf"
    shown = json.loads(cupola(tmp_path, "show", name, "--json").stdout)
    [pulled] = [variant["pulled"] for variant in shown["variants"] if variant["pulled"]]
    assert pulled["record"]["digest"] == told["record"]["digest"]
    assert len(pulled["record"]["steps"]) == len(told["record"]["steps"])
    again = cupola(tmp_path, "convert", str(checkpoint), *options, "-o", name)
    assert again.returncode != 0
    assert f"'{name}' is the name or alias of a known model" in again.stderr
    # The message that the registry gives the default model; without it near-ties decide.
    answer = cupola(tmp_path, "run", name, "What is the capital of France?", "--system", "You are a helpful assistant.")
    assert "Paris" in answer.stdout, answer.stderr


def test_a_folder_is_written_and_nothing_more(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "f16"
    made = cupola(
        tmp_path / "home", "convert", str(checkpoint), "--to", "gguf", "--precision", "f16", "-o", str(target)
    )
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in target.iterdir()) == ["cupola.json", "smollm2-F16.gguf"]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("no-such-model", ["--to", "onnx"], "no-such-model"),
        ("smollm2", ["--to", "onnx"], "pull it first"),
        (".", ["--to", "onnx"], "no config.json"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, source: str, options: list[str], words: str) -> None:
    made = cupola(tmp_path / "home", "convert", str(tmp_path) if source == "." else source, *options, "-o", "x")
    assert made.returncode != 0
    assert made.stderr.startswith("Error: ")
    assert words in made.stderr
    assert made.stderr.count("\n") == 1
