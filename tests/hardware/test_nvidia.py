"""NVIDIA GPUs: the tool, the library and the bus."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.hardware import nvidia, pci
from server.hardware.types import Device, Problem

from . import published
from .trees import plant

LIBRARY = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "590.48.01", size); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    strncpy(text, (long)handle == 1 ? "NVIDIA GeForce RTX 5080" : "NVIDIA GB10", size); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory *info) {
    if ((long)handle != 1) return 3;
    info->total = 16303ULL << 20; info->free = 10379ULL << 20; return 0; }
"""


def test_a_gpu() -> None:
    assert nvidia.parse(published("nvidia_smi_rtx_5080.csv")) == [
        Device(
            kind="cuda",
            vendor="NVIDIA",
            name="NVIDIA GeForce RTX 5080",
            memory=16303 << 20,
            free=10379 << 20,
            driver="590.48.01",
        )
    ]


def test_a_gpu_without_memory_of_its_own() -> None:
    [gpu] = nvidia.parse(published("nvidia_smi_gb10.csv"))
    assert (gpu.name, gpu.memory, gpu.free, gpu.driver) == ("NVIDIA GB10", None, None, None)


@pytest.mark.parametrize(
    "text", ["", "name\n", "NVIDIA-SMI has failed because it couldn't communicate.\n", "name, x\n, 1"]
)
def test_no_gpu(text: str) -> None:
    assert nvidia.parse(text) == []


def test_a_gpu_on_the_bus_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = plant(tmp_path, {"sys/bus/pci/devices/0000:01:00.0/uevent": published("uevent_nvidia_nouveau.txt")})
    [gpu] = nvidia.read(root)
    assert isinstance(gpu, Device)
    assert (gpu.name, gpu.driver, gpu.state) == ("NVIDIA GPU [10de:1290]", "nouveau", "no-driver")
    assert gpu.fix == nvidia.INSTALL_DRIVER


def test_an_audio_function_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    audio = published("uevent_nvidia_nouveau.txt").replace("PCI_CLASS=30200", "PCI_CLASS=40300")
    assert nvidia.read(plant(tmp_path, {"sys/bus/pci/devices/0000:01:00.1/uevent": audio})) == []


def test_the_bus() -> None:
    assert pci.parse(published("uevent_nvidia_nouveau.txt")) == pci.PciDevice("10de", "1290", pci.DISPLAY, "nouveau")
    assert pci.parse("DRIVER=x\n") is None
    assert pci.parse("PCI_ID=10DE:1290\nPCI_CLASS=xyz\n") is None


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tool")
def test_the_tool_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    csv = published("nvidia_smi_rtx_5080.csv")
    script.write_text(f"#!/bin/sh\n[ $# = 2 ] && printf '%s' '{csv}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert nvidia.read(tmp_path) == nvidia.parse(csv)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tool")
def test_a_tool_that_hangs_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    [problem] = nvidia.read(tmp_path)
    assert isinstance(problem, Problem)
    assert "did not answer" in problem.message


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform == "win32", reason="needs a C compiler")
def test_the_library_says_what_the_tool_would(tmp_path: Path) -> None:
    """A library with NVML's functions, compiled here; the real one has never been called by this project."""
    (tmp_path / "nvml.c").write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True)
    command = [sys.executable, "-P", "-m", "server.hardware.nvml", str(tmp_path / "nvml.so")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, second = nvidia.parse(done.stdout)
    assert first == nvidia.parse(published("nvidia_smi_rtx_5080.csv"))[0]
    assert (second.name, second.memory, second.driver) == ("NVIDIA GB10", None, "590.48.01")


def test_without_the_library_the_child_says_nothing() -> None:
    command = [sys.executable, "-P", "-m", "server.hardware.nvml", "no-such-library.so"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
