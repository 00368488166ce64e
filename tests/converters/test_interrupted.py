"""Every converter that is killed anywhere, or runs out of disk, leaves nothing bad under the final name."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters import gguf_to_hf, gguf_to_onnx
from server.errors import StorageFailed
from server.models.lineage import read_record

from .checkpoints import Checkpoint, write_tokenizer
from .conftest import say
from .lora import write_lora
from .small import Small, write
from .test_encoder_to_onnx import write as write_encoder

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # PEFT's
]
MODEL = Small("llama", layers=4, tied=False)
# SOURCE... and options of each, as they are named in the fixture below; the target stands where TARGET does.
CONVERTERS = {
    "gguf-to-hf": "GGUF TARGET",
    "gguf-to-onnx": "GGUF TARGET --precision int8 --no-quality",
    "gguf-to-gguf": "GGUF TARGET --precision q8_0 --no-quality",
    "hf-to-gguf": "CHECKPOINT TARGET",
    "hf-to-onnx": "CHECKPOINT TARGET --precision int4",
    "merge": "CHECKPOINT ADAPTER TARGET",
    "prune": "CHECKPOINT TARGET --blocks 1 --tokens 128",
    "adapter-to-gguf": "ADAPTER GGUF TARGET",
    "adapter-to-onnx": "ADAPTER ONNX TARGET",
    "encoder-to-onnx": "ENCODER TARGET",
    "imatrix": "GGUF TARGET",
}


@dataclass(frozen=True, slots=True)
class Forks:
    """The program that converters are forked from."""

    process: subprocess.Popen[str]
    log: Path

    def start(self, arguments: list[str], limit: int | None = None) -> int:
        """The number of the process."""
        self.log.unlink(missing_ok=True)
        assert self.process.stdin
        assert self.process.stdout
        order = {"arguments": arguments, "limit": limit, "log": str(self.log)}
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """Its exit status."""
        assert self.process.stdout
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    command = [sys.executable, "-m", "tests.converters.forking"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Forks(process, tmp_path_factory.mktemp("log") / "said")
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def sources(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sources")
    small = write(folder / "small.gguf", MODEL)
    vocabulary = write_tokenizer(real_model, folder / "checkpoint")
    checkpoint = Checkpoint("Llama", {}).write(folder / "checkpoint", vocabulary)
    gguf_to_hf.convert(small, folder / "of-the-gguf")
    found = {
        "GGUF": small,
        "CHECKPOINT": checkpoint,
        "ADAPTER": write_lora(folder / "of-the-gguf", folder / "adapter"),
        "ONNX": gguf_to_onnx.convert(small, folder / "onnx", "fp32").folder,
        "ENCODER": write_encoder(folder / "encoder"),
    }
    return {name: str(path) for name, path in found.items()} | {"OF_THE_GGUF": str(folder / "of-the-gguf")}


def arguments_of(converter: str, sources: dict[str, str], target: Path) -> list[str]:
    known = sources | {"TARGET": str(target)}
    if converter in {"merge", "prune"}:
        known["CHECKPOINT"] = sources["OF_THE_GGUF"]
    return [converter, *(known.get(word, word) for word in CONVERTERS[converter].split())]


def check(target: Path) -> None:
    """What is there is whole: of a folder, every file is as its record says."""
    if target.is_file():
        assert target.stat().st_size > 0
        return
    record = read_record(target)
    assert record is not None
    assert record.files
    for file in record.files:
        assert hashlib.sha256((target / file.name).read_bytes()).hexdigest() == file.sha256


@pytest.mark.timeout(600)
@pytest.mark.parametrize("converter", CONVERTERS)
def test_a_kill_anywhere(
    converter: str, forks: Forks, sources: dict[str, str], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The moments are spread over the time that a whole run takes."""
    source = random.Random(converter)
    started = time.monotonic()
    forks.start(arguments_of(converter, sources, tmp_path / "first"))
    assert forks.wait() == 0, forks.log.read_text()
    seconds = time.monotonic() - started
    check(tmp_path / "first")
    draws: int = pytestconfig.getoption("draws")
    target = tmp_path / "out" / "made"
    unfinished = 0
    for number in range(draws):
        process = forks.start(arguments_of(converter, sources, target))
        time.sleep(seconds * (number + source.random()) / draws)
        with suppress(ProcessLookupError):  # it was quicker than before
            os.killpg(process, signal.SIGKILL)
        status = forks.wait()
        assert status in {0, -signal.SIGKILL}, forks.log.read_text()
        unfinished += status == -signal.SIGKILL and not target.exists()
        if target.exists():
            check(target)
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    say(f"{converter}: {unfinished} of {draws} were killed before their end")
    assert unfinished, "it was killed before its end at least once"
    forks.start(arguments_of(converter, sources, target))
    assert forks.wait() == 0, forks.log.read_text()
    check(target)
    assert [path.name for path in target.parent.iterdir()] == ["made"], "what the dead ones left is gone"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("converter", CONVERTERS)
def test_a_full_disk_is_one_clear_error(
    converter: str, late: bool, forks: Forks, sources: dict[str, str], tmp_path: Path
) -> None:
    """At the first write, or at the last byte of the largest file."""
    target, whole, limit = tmp_path / "out" / "made", tmp_path / "whole", 1000
    if late:
        forks.start(arguments_of(converter, sources, whole))
        assert forks.wait() == 0, forks.log.read_text()
        files = [whole] if whole.is_file() else [path for path in whole.rglob("*") if path.is_file()]
        limit = max(path.stat().st_size for path in files) - 1
    forks.start(arguments_of(converter, sources, target), limit=limit)
    assert forks.wait() not in {0, -signal.SIGXFSZ}
    said = forks.log.read_text()
    assert "Traceback" not in said
    [error] = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert error.startswith(f"Error: Cannot write {target}: "), error
    assert error.endswith("nothing was left there."), error
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_what_is_no_folder_is_not_called_a_full_disk(sources: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="Cannot write"):
        gguf_to_hf.convert(Path(sources["GGUF"]), tmp_path / "file" / "made")
