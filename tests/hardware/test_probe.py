"""All detectors together: in time, whatever hangs or fails."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.hardware.engines import Package
from server.hardware.memory import read as read_memory
from server.hardware.probe import Detection, Finding, Probe, assemble, disk_free, read_system
from server.hardware.types import Device, Engine, Problem

from . import published

BOUND = 2.0


def detectors() -> int:
    return sum(thread.name == "detector" for thread in threading.enumerate())


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """A system whose PCI bus answers as a driver does that hangs in the kernel: reading never returns."""
    bus = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    bus.mkdir(parents=True)
    os.mkfifo(bus / "uevent")
    yield tmp_path
    while detectors():  # each reader that waits is let go by a writer
        try:
            os.close(os.open(bus / "uevent", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            time.sleep(0.01)


@pytest.mark.alone
def test_this_device(tmp_path: Path) -> None:
    started = time.monotonic()
    system = read_system(tmp_path / "not" / "there" / "yet")
    assert time.monotonic() - started < BOUND
    assert system.cpu.physical_cores >= 1
    assert 0 < system.memory.usable <= system.memory.available <= system.memory.total
    assert system.disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert [engine.name for engine in system.engines] == ["llama", "onnx", "genai"]


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tool")
def test_a_tool_that_hangs_costs_no_more_than_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    started = time.monotonic()
    system = read_system(tmp_path)
    assert time.monotonic() - started < BOUND
    assert any("NVIDIA's driver did not answer" in problem.message for problem in system.problems)
    assert system.cpu.model


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
def test_a_detector_that_cannot_be_ended_is_left_alone(stuck: Path) -> None:
    probe, hanging = Probe(stuck, stuck), []
    for _ in range(2):
        started = time.monotonic()
        system = probe.read()
        assert time.monotonic() - started < BOUND
        assert Problem("The NPU detector is late; its part is not known.") in system.problems
        hanging.append(detectors())
    assert hanging[0] == hanging[1] > 0, "it was started again"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_detector_that_fails_is_reported() -> None:
    def fails() -> list[Finding]:
        raise ZeroDivisionError

    detection = Detection(fails)
    assert detection.wait(time.monotonic() + BOUND) is None
    assert not detection.running


def test_a_device_that_one_way_reaches_needs_no_other() -> None:
    """An NVIDIA GPU on Windows is there for CUDA and for DirectML."""
    cuda = Device(kind="cuda", vendor="NVIDIA", name="NVIDIA GeForce RTX 4090")
    directml = Device(kind="directml", vendor="NVIDIA", name="NVIDIA GeForce RTX 4090")
    engine = Engine(name="onnx", distribution="onnxruntime-gpu", version="1", providers=("CUDAExecutionProvider",))
    packages = [Package("onnxruntime", "onnxruntime-gpu", "1")]
    system = assemble([cuda, directml, engine], read_memory(), packages)
    assert [device.state for device in system.devices] == ["ready", "no-engine"]
    assert system.problems == ()
    assert system.cpu.model


def test_what_is_to_be_mended_is_said() -> None:
    gpu = Device(kind="cuda", vendor="NVIDIA", name="RTX", state="no-driver", fix="install it")
    broken = Engine(name="llama", distribution="llama-cpp-python", version="1", state="broken", reason="no libgomp")
    packages = [Package("onnxruntime", "onnxruntime", "1"), Package("onnxruntime", "onnxruntime-gpu", "1")]
    problems = assemble([Problem("late"), gpu, broken], read_memory(), packages).problems
    messages = " | ".join(problem.message for problem in problems)
    assert messages == (
        "late"
        " | onnxruntime and onnxruntime-gpu are both installed, and each overwrites the other's files."
        " | llama-cpp-python 1 is installed and cannot be imported: no libgomp"
        " | onnxruntime 1 is installed, and importing it took too long to know more."
        " | RTX (cuda) has no working driver."
    )


def test_no_engine_at_all_is_a_problem() -> None:
    [problem] = assemble([], read_memory(), []).problems
    assert problem == Problem("No engine is installed that could run a model.", "pip install 'cupola[llama]'")


def test_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "a" / "b") is not None
    assert disk_free(Path("relative")) is not None


def test_the_fixtures_have_their_sources() -> None:
    readme = published("README.md")
    for path in (Path(__file__).parent / "fixtures").iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme
