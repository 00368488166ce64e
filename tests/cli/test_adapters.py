"""`cupola add --adapter-of`, from a folder of PEFT to an answer over HTTP, on both engines that take adapters."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server.environment import child_environment
from server.models.registry import Registry

from ..converters.small import Small, write
from ..random_lora import write_random_lora
from ..serving import running_server

MODEL = Small("llama", tied=False)


def cupola(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = child_environment() | {"CUPOLA_HOME": str(home)}
    command = [sys.executable, "-P", "-m", "server", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as GGUF and as ONNX, with two adapters: a converted one, and a copied one for llama.cpp alone."""
    root = tmp_path_factory.mktemp("home")
    model = write(root / "tiny.gguf", MODEL)
    for arguments in (
        ("add", str(model), "--name", "tiny"),
        ("pull", "tiny@llama"),
        ("pull", "tiny@onnx-exact"),
        ("add", str(write_random_lora(model, root / "one", 1, loud=0.3)), "--adapter-of", "tiny", "--name", "first"),
    ):
        done = cupola(root, *arguments)
        assert done.returncode == 0, done.stderr
    made = root / "adapters" / "tiny" / "first"
    assert {path.suffix for path in made.glob("*/*") if path.name != "cupola.json"} == {".gguf", ".onnx_adapter"}
    copied = cupola(root, "add", str(next((made / "gguf").glob("*.gguf"))), "--adapter-of", "tiny", "--name", "second")
    assert copied.returncode == 0, copied.stderr
    return root


def says(http: httpx.Client, model: str) -> str:
    answer = http.post("/v1/completions", json={"model": model, "prompt": "th", "temperature": 0, "max_tokens": 12})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def test_both_engines_answer_with_it(home: Path) -> None:
    pytest.importorskip("llama_cpp")
    with running_server(home) as server, server.client() as http:
        heard = {name: says(http, name) for name in ("tiny@llama", "tiny@llama+first", "tiny@onnx", "tiny@onnx+first")}
        assert says(http, "tiny@llama+second") == heard["tiny@llama+first"]
        assert http.post("/v1/completions", json={"model": "tiny@onnx+second", "prompt": "th"}).status_code == 404
        listed = {model["id"] for model in http.get("/v1/models").json()["data"]}
        running = [resident["id"] for resident in server.residents()]
    assert heard["tiny@llama"] == heard["tiny@onnx"]
    assert heard["tiny@llama+first"] == heard["tiny@onnx+first"] != heard["tiny@llama"]
    assert {"tiny", "tiny+first", "tiny+second"} <= listed
    assert len(running) == 2


def test_what_cannot_be_added_leaves_nothing(home: Path, tmp_path: Path) -> None:
    before = (home / "models.yaml").read_text()
    other = write(tmp_path / "other.gguf", Small("llama", hidden=32, tied=False))
    strange = write_random_lora(other, tmp_path / "strange", 1)
    (tmp_path / "note.txt").touch()
    for path, name, complaint in (
        (strange, "strange", "is for another model"),
        (home / "one", "first", "already has an adapter 'first'"),
        (tmp_path / "note.txt", "note", "is no adapter"),
        (tmp_path / "nowhere", "nowhere", "does not exist"),
    ):
        done = cupola(home, "add", str(path), "--adapter-of", "tiny", "--name", name)
        assert done.returncode != 0
        assert complaint in " ".join(done.stderr.split())
    assert (home / "models.yaml").read_text() == before
    assert sorted(path.name for path in (home / "adapters" / "tiny").iterdir()) == ["first", "second"]


def test_an_adapter_is_not_removed_with_its_model(home: Path) -> None:
    done = cupola(home, "rm", "tiny+first")
    assert done.returncode != 0
    assert "take 'tiny+first' out of" in " ".join(done.stderr.split())
    model, variants = Registry.load(home / "models.yaml").resolve("tiny+first")
    assert model.name == "tiny"
    assert {variant.format for variant in variants} == {"gguf", "onnx"}
