"""`cupola convert` and `cupola export`, as a user runs them, on a small model."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from converters import gguf_to_hf
from server.cli.convert import tell
from server.environment import child_environment
from server.models import foundry
from server.models.lineage import Record, Step
from server.models.registry import Registry
from server.models.store import Store

from ..converters.conftest import load
from ..converters.small import Small, write
from ..models.hub import running_hub
from .test_run import cupola

PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "small.gguf", Small("llama", tied=False, feed_forward=128))


@pytest.fixture(scope="module")
def checkpoint(model: Path) -> Path:
    folder = model.parent / "checkpoint"
    gguf_to_hf.convert(model, folder, "fp32")
    (folder / "chat_template.jinja").write_text(PLAIN)
    return folder


def made(home: Path, name: str) -> Path:
    """What is in the store of a model, with a record."""
    found, variants = Registry.load(home / "models.yaml").resolve(name)
    manifest = Store(home).manifest(found, variants[0])
    assert manifest is not None
    assert manifest.record is not None
    return Store(home).path(manifest)


def test_a_gguf_becomes_a_model_of_ones_own(model: Path, tmp_path: Path) -> None:
    done = cupola(tmp_path, "convert", str(model), "--to", "onnx", "-o", "mine", "--json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["model"] == "mine"
    assert [step["tool"] for step in about["record"]["steps"]] == ["gguf-to-onnx"]
    folder = made(tmp_path, "mine")
    again = cupola(tmp_path, "convert", str(model), "--to", "onnx", "-o", "mine")
    assert "is the name or alias of a known model" in again.stderr
    runner = load("onnx", folder, context=64)
    runner.close()
    foundry_folder = tmp_path / "foundry" / "Me" / "mine"
    done = cupola(tmp_path, "export", "mine", "--foundry", str(foundry_folder))
    assert done.returncode == 0, done.stderr
    assert "There is no PromptTemplate" in done.stdout or "no chat template" in done.stdout
    found = foundry.read(foundry_folder)
    assert found is not None
    assert found.name == "mine:1"
    assert (foundry_folder / "cupola.json").is_file()


def start(home: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "server", *arguments]
    return subprocess.Popen(command, env=child_environment() | {"CUPOLA_HOME": str(home)}, start_new_session=True)


def killed(process: "subprocess.Popen[bytes]", moment: Path) -> None:
    """As soon as something is there."""
    while not moment.exists():
        assert process.poll() is None, "it ended before it was to be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.real
@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
@pytest.mark.parametrize("place", [".mine.converting/0", ".mine.partial", "mine"])
def test_what_a_kill_leaves_does_not_stop_the_next(place: str, checkpoint: Path, tmp_path: Path) -> None:
    """Between two converters, in the last, and when the folder is there and the model not registered yet."""
    folder = tmp_path / "converted" / "mine" / "gguf-q4_0"
    options = ("convert", str(checkpoint), "--to", "gguf", "--precision", "q4_0", "--imatrix", "auto", "-o", "mine")
    killed(start(tmp_path, *options), folder.parent / place.replace("mine", folder.name))
    done = cupola(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    made(tmp_path, "mine")


@pytest.mark.real
def test_a_recipe_of_olive_and_its_folder_for_foundry_local(checkpoint: Path, tmp_path: Path) -> None:
    """The recipe that corresponds to a conversion, run by Olive itself, computes the same as the conversion."""
    options = (str(checkpoint), "--to", "onnx", "--precision", "int4", "--algorithm", "rtn")
    recipe, plain = tmp_path / "recipe.json", tmp_path / "plain"
    assert cupola(tmp_path, "convert", *options, "--export-olive", str(recipe)).returncode == 0
    done = cupola(tmp_path, "convert", "--olive", str(recipe), "-o", "mine")
    assert done.returncode == 0, done.stderr
    assert cupola(tmp_path, "convert", *options, "-o", str(plain)).returncode == 0
    folder = made(tmp_path, "mine")
    assert (folder / "model.onnx.data").read_bytes() == (plain / "model.onnx.data").read_bytes()
    exported = tmp_path / "foundry"
    done = cupola(tmp_path, "export", "mine", "--foundry", str(exported))
    assert done.returncode == 0, done.stderr
    found = foundry.read(exported)
    assert found is not None
    assert found.template == foundry.PromptTemplate(
        prompt="<user>{Content}</><a>",
        user="<user>{Content}</>",
        assistant="<assistant>{Content}</>",
        system="<system>{Content}</>",
    )
    runner = load("genai", exported, context=64)  # what Foundry Local is made of
    runner.close()


@pytest.mark.real
def test_a_repository_of_the_hub(checkpoint: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.name != "cupola.json"}
    with running_hub() as hub:
        hub.repos["acme/small"] = files | {"pytorch_model.bin": b"PK\x03\x04", "old/model.safetensors": b"other"}
        hub.repos["acme/pickled"] = {"pytorch_model.bin": b"PK\x03\x04", "config.json": b"{}"}
        options = ("--to", "gguf", "--precision", "f16", "-o", str(tmp_path / "made"))
        online = {"CUPOLA_HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        refused = cupola(tmp_path, "convert", "acme/pickled", *options, **online)
        done = cupola(tmp_path, "convert", "acme/small", *options, **online)
        offline = cupola(tmp_path, "convert", "acme/other", *options, CUPOLA_OFFLINE="1")
        assert hub.requests("model.safetensors", "cdn")
        assert not hub.requests("pytorch_model.bin", "hub") + hub.requests("old/model.safetensors", "hub")
    assert "acme/pickled has no safetensors" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in (tmp_path / "made").iterdir()} == {".gguf", ".json"}
    assert "Offline mode is on" in offline.stderr


def test_the_memory_of_a_training_is_not_that_of_a_conversion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    tools = {"finetune": 4_800_000_000, "merge": 300_000_000, "hf-to-onnx": 1_200_000_000}
    record = Record(
        steps=tuple(Step(tool=tool, peak_memory=peak) for tool, peak in tools.items()),
        digest="0" * 64,
        created=datetime.now(UTC),
        cupola_version="0.1.0",
    )
    tell(tmp_path, None, record, 2, as_json=False)
    assert "At most 1.20 GB of memory were used." in capsys.readouterr().out


def test_a_folder_is_written_and_no_more(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    done = cupola(tmp_path, "convert", str(checkpoint), "--to", "gguf", "--precision", "f16", "-o", f"{target}/")
    assert done.returncode == 0, done.stderr
    assert len(list(target.glob("*.gguf"))) == 1
    assert not (tmp_path / "models.yaml").exists()
    added = cupola(tmp_path, "add", str(target), "--name", "mine")
    assert added.returncode == 0, added.stderr
    assert cupola(tmp_path, "pull", "mine").returncode == 0
    assert made(tmp_path, "mine").suffix == ".gguf"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("MODEL", "--to", "onnx"), "Say what to call the result"),
        (("MODEL", "-o", "x"), "Say what to convert and into what"),
        (("MODEL", "--to", "tar", "-o", "x"), "no way to 'tar'"),
        (("MODEL", "--to", "onnx", "--device", "npu", "-o", "x"), "--device npu"),
        (("CHECKPOINT", "--to", "onnx", "--device", "npu", "-o", "x"), "its maker's tools"),
        (("CHECKPOINT", "--to", "onnx", "--precision", "fp16", "-o", "x"), "not for the processor"),
        (("nobody", "--to", "onnx", "-o", "x"), "Model 'nobody' does not exist"),
        (("./nobody", "--to", "onnx", "-o", "x"), "neither a file or folder here"),
        (("MODEL", "--to", "onnx", "--base", "y", "-o", "x"), "--base is for adapters"),
        (("MODEL", "--to", "gguf", "-o", "smollm2"), "name or alias of a known model"),
        (("--olive", "absent.json", "-o", "x"), "cannot be read"),
        (("CHECKPOINT", "--olive", "absent.json", "--to", "onnx", "-o", "x"), "The recipe says what is made"),
        (("MODEL", "--to", "onnx", "--export-olive", "x.json"), "and no other conversion"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], complaint: str, model: Path, checkpoint: Path, tmp_path: Path
) -> None:
    known = {"MODEL": str(model), "CHECKPOINT": str(checkpoint)}
    done = cupola(tmp_path, "convert", *(known.get(argument, argument) for argument in arguments))
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "models.yaml").exists()
