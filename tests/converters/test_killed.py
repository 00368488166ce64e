"""Converters of checkpoints that are killed anywhere, or run out of disk: nothing bad under the final name."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from converters.gguf_to_hf import convert as to_hf

from .small import Small, write

MODEL = Small("llama", layers=12, tied=False)
STEPS = 12 * 9  # at least as many tensors are told of
# Tells of every step on stdout, and takes the next one when it is told to.
STEPPING = """
import sys
from importlib import import_module
from pathlib import Path

def report(fraction, doing):
    print(doing, flush=True)
    sys.stdin.readline()

import_module(f"converters.{sys.argv[1]}").convert(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], report)
"""
FULL = """
import resource, sys
from importlib import import_module
from pathlib import Path
from server.errors import CupolaError

import_module(f"converters.{sys.argv[1]}")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # as on a full disk, a write comes to an end
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    import_module(f"converters.{sys.argv[1]}").convert(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
except CupolaError as error:
    print(type(error).__name__, error.message)
"""
CONVERTERS = {"gguf_to_hf": "fp32", "hf_to_gguf": "f16"}


@pytest.fixture
def source(converter: str, tmp_path: Path) -> Path:
    """What the converter converts."""
    model = write(tmp_path / "small.gguf", MODEL)
    if converter == "gguf_to_hf":
        return model
    to_hf(model, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("converter", CONVERTERS)
def test_a_killed_conversion_leaves_nothing_under_the_name(
    converter: str, seed: int, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "folder"
    command = [sys.executable, "-c", STEPPING, converter, str(source), str(target), CONVERTERS[converter]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(random.Random(seed).randrange(1, STEPS)):
            assert process.stdout.readline(), "it ended before it was to be killed"
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    assert not target.exists()
    subprocess.run([*command], input="\n" * 9999, capture_output=True, text=True, check=True)
    assert [path.name for path in target.parent.iterdir()] == ["folder"], "what the dead one left is gone"
    assert (target / "cupola.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit to the size of a file")
@pytest.mark.parametrize("converter", CONVERTERS)
def test_a_full_disk_is_one_clear_error(converter: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "folder"
    command = [sys.executable, "-c", FULL, converter, str(source), str(target), CONVERTERS[converter]]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("StorageFull Cannot write"), said
    assert "nothing was left there" in said
    assert list(target.parent.iterdir()) == []
