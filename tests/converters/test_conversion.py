"""A conversion as a whole: what it takes, what it leaves when it is killed or the disk is full, what it refuses."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest

from converters import quality
from converters.gguf_to_onnx import Outcome, convert
from converters.reference import GgufReference
from converters.weights import Precision
from server.errors import InvalidValue, LoadFailed, StorageFull
from server.models import gguf
from server.models.genai_config import read

from .conftest import load, say
from .small import Small, write

MODEL = Small("llama", layers=30, tied=False)
STEPS = MODEL.layers + 4
# Tells of every step on stdout, and takes the next one when it is told to.
STEPPING = """
import sys
from pathlib import Path
from converters.gguf_to_onnx import convert

def report(fraction, doing):
    print(f"{fraction:.3f} {doing}", flush=True)
    sys.stdin.readline()

convert(Path(sys.argv[1]), Path(sys.argv[2]), report=report)
"""
MEASURED = """
import sys, time
from pathlib import Path
from converters.gguf_to_onnx import convert

start = time.perf_counter()
convert(Path(sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - start
# Not getrusage: a child's count begins with what its parent held when it forked.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) * 1024)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return write(tmp_path / "source" / "small.gguf", MODEL)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder to be, in one where nothing else is."""
    return tmp_path / "out" / "folder"


@contextmanager
def converting(model: Path, target: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", STEPPING, str(model), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def step(process: "subprocess.Popen[str]", count: int) -> list[str]:
    """Let it go on to its next steps, which are not taken yet when this returns."""
    assert process.stdin
    assert process.stdout
    told = []
    for _ in range(count):
        told.append(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
    return told


def test_progress_is_told_in_order(model: Path, target: Path) -> None:
    told: list[tuple[float, str]] = []
    convert(model, target, report=lambda fraction, doing: told.append((fraction, doing)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1], len(told)) == (0.0, 1.0, STEPS)
    assert told[2][1] == "layer 1 of 30"


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_conversion_leaves_nothing_under_the_name(seed: int, model: Path, target: Path) -> None:
    with converting(model, target) as process:
        step(process, random.Random(seed).randrange(1, STEPS - 1))
    assert process.returncode == -9
    assert not target.exists()
    assert all(path.name.startswith(".") for path in target.parent.iterdir())
    convert(model, target)
    assert [path.name for path in target.parent.iterdir()] == ["folder"], "what the dead one left is gone"
    load("onnx", target, 64).close()


def test_two_at_once_do_not_spoil_each_other(model: Path, target: Path) -> None:
    with converting(model, target) as process:
        step(process, 3)
        with pytest.raises(InvalidValue, match="Another process"):
            convert(model, target)
        step(process, STEPS - 3)
        assert process.wait() == 0
    load("onnx", target, 64).close()
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_stays(kind: str, model: Path, target: Path) -> None:
    target.parent.mkdir()
    if kind == "folder":
        target.mkdir()
        (target / "precious").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(InvalidValue, match="exists already"):
        convert(model, target)
    assert ((target / "precious") if kind == "folder" else target).read_text() == "mine"
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_a_full_disk_is_said_and_leaves_nothing(model: Path, target: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no limit on the size of files")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageFull, match="folder: File too large"):
            convert(model, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(target.parent.iterdir()) == []


def test_an_unknown_precision_lists_the_known_ones(model: Path, target: Path) -> None:
    with pytest.raises(InvalidValue, match="exact, int8, int4, int4_128, fp16, fp32"):
        convert(model, target, "int3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "most"),
    [("exact", 1e-7), ("fp32", 1e-7), ("fp16", 1e-4), ("int8", 0.02), ("int4", 0.5), ("int4_128", 0.6)],
)
def test_a_precision_costs_what_it_says(precision: Precision, most: float, model: Path, target: Path) -> None:
    outcome = convert(model, target, precision)
    assert outcome.size == sum(path.stat().st_size for path in target.iterdir())
    assert read(target).kind() == "decoder"
    runner = load("onnx", target, 64)
    found = quality.measure(runner, GgufReference(gguf.read(model)), list(range(50)))
    runner.close()
    say(f"{precision}: KL {found.kl_mean:.1e}")
    assert found.kl_mean <= most


def test_weights_outside_of_the_folder_are_not_read(model: Path, target: Path, tmp_path: Path) -> None:
    """ONNX Runtime itself sees to it that external data stays inside."""
    convert(model, target)
    (tmp_path / "secret").write_bytes(b"\0" * 10_000_000)
    graph = onnx.load(str(target / "model.onnx"), load_external_data=False)
    for place in ("../../secret", str(tmp_path / "secret"), "../../../../../../etc/passwd"):
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = place
        (target / "model.onnx").write_bytes(graph.SerializeToString())
        with pytest.raises(LoadFailed, match="folder"):
            load("onnx", target, 64)


def measured(model: Path, target: Path) -> tuple[float, int]:
    """Seconds and peak bytes of a conversion in a process of its own."""
    command = [sys.executable, "-c", MEASURED, str(model), str(target)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(told[0]), int(told[1])


@pytest.mark.alone
@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_default_model_takes_little(real_model: Path, tmp_path: Path) -> None:
    seconds, peak = measured(real_model, tmp_path / "folder")
    say(f"SmolLM2-135M: {seconds:.1f} s, {peak / 1e6:.0f} MB at most")
    assert seconds < 15
    assert peak < 1e9


@pytest.mark.real
def test_eight_bits_take_a_byte_and_four_a_half(real_folder: Path, int4_outcome: Outcome) -> None:
    eight = sum(path.stat().st_size for path in real_folder.iterdir()) / int4_outcome.parameters
    four = int4_outcome.size / int4_outcome.parameters
    say(f"bytes a parameter: {eight:.3f} at 8 bits, {four:.3f} at 4")
    assert eight <= 1.15
    assert four <= 0.65


@pytest.mark.real
@pytest.mark.timeout(180)
def test_half_a_billion_parameters_take_a_minute_at_most(coder_conversion: tuple[Outcome, float]) -> None:
    outcome, seconds = coder_conversion
    say(f"Qwen2.5-Coder-0.5B: {seconds:.1f} s, {outcome.size / outcome.parameters:.3f} bytes a parameter")
    assert seconds < 60
    assert outcome.size / outcome.parameters <= 1.15


def test_a_chat_template_goes_along(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    model = write(
        tmp_path / "small.gguf", Small("qwen2", biased=True), lambda writer: writer.add_chat_template(template)
    )
    convert(model, tmp_path / "folder")
    assert (tmp_path / "folder" / "chat_template.jinja").read_text() == template
    runner = load("onnx", tmp_path / "folder", 64)
    assert runner.tokenizer.chat_template == template
    runner.close()
    assert json.loads((tmp_path / "folder" / "genai_config.json").read_text())["model"]["type"] == "qwen2"
