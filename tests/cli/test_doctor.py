"""`cupola doctor` as a user runs it, against what the system itself says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..hardware.test_engines import dist_info
from ..hardware.trees import plant
from .test_run import cupola

pytestmark = pytest.mark.alone  # each detector has little more time than it takes; and memory is read twice
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's files")
FLAGS = {
    "avx2": {"avx2"},
    "avx512": {"avx512f"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "amx": {"amx_tile"},
    "neon": {"asimd"},
    "sve": {"sve"},
    "dotprod": {"asimddp"},
}


@pytest.fixture(scope="module")
def doctor(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    system: dict[str, Any] = json.loads(cupola(tmp_path_factory.mktemp("home"), "doctor", "--json").stdout)
    return system


@LINUX
@pytest.mark.skipif(shutil.which("lscpu") is None, reason="needs lscpu")
def test_it_agrees_with_lscpu(doctor: dict[str, Any]) -> None:
    printed = json.loads(subprocess.run(["lscpu", "-J"], check=True, capture_output=True, text=True).stdout)["lscpu"]
    said = {entry["field"].rstrip(":"): entry["data"] for entry in _flat(printed)}
    cpu = doctor["cpu"]
    assert cpu["architecture"] == said["Architecture"]
    assert cpu["model"] == said["Model name"]
    assert cpu["logical_cores"] == int(said["CPU(s)"])
    if "Socket(s)" in said:
        assert cpu["physical_cores"] == int(said["Core(s) per socket"]) * int(said["Socket(s)"])
    flags = set(said["Flags"].split())
    assert set(cpu["instructions"]) == {name for name, known in FLAGS.items() if known & flags}


def _flat(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Newer versions nest: children of a field."""
    return [found for entry in entries for found in (entry, *_flat(entry.get("children", [])))]


@LINUX
def test_it_agrees_with_meminfo(doctor: dict[str, Any]) -> None:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    assert doctor["memory"]["total"] == total
    assert doctor["memory"]["available"] == pytest.approx(available, abs=total // 10)  # others work here, too


@LINUX
def test_it_agrees_with_the_control_groups(doctor: dict[str, Any]) -> None:
    """The files of each level, found without our code: where the hierarchy is mounted is where it always is."""
    memory = [
        text for file in ("memory.max", "memory.high", "memory.limit_in_bytes") for text in _levels("memory", file)
    ]
    limits = [int(text) for text in memory if text != "max" and int(text) < 1 << 62]
    assert doctor["memory"]["limit"] == min(limits, default=None)
    quotas = [int(quota) / int(period) for quota, period in map(str.split, _levels("cpu", "cpu.max")) if quota != "max"]
    version_1 = zip(_levels("cpu", "cpu.cfs_quota_us"), _levels("cpu", "cpu.cfs_period_us"), strict=True)
    quotas += [int(quota) / int(period) for quota, period in version_1 if quota != "-1"]
    assert doctor["cpu"]["quota"] == min(quotas, default=None)


def _levels(controller: str, file: str) -> list[str]:
    found: list[str] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = Path("/sys/fs/cgroup") / controllers
        inside = mount / group.lstrip("/")
        levels = [inside, *inside.parents] if inside.is_dir() else [mount]
        files = [level / file for level in levels if level.is_relative_to(mount)]
        found += [path.read_text().strip() for path in files if path.is_file()]
    return found


def test_it_is_a_table(tmp_path: Path) -> None:
    done = cupola(tmp_path, "doctor")
    assert done.returncode == 0, "an engine is installed for the tests"
    assert done.stderr == ""
    for word in ("Processor", "Memory", "DEVICE", "ENGINE", "llama-cpp-python"):
        assert word in done.stdout


def test_without_a_usable_engine_the_status_is_1(tmp_path: Path) -> None:
    """Engines that are installed and cannot be imported."""
    broken = 'raise ImportError("libgomp.so.1: cannot open shared object file")\n'
    modules = ("llama_cpp", "onnxruntime", "onnxruntime_genai")
    files: dict[str, str] = {}
    for module in modules:
        name = "llama_cpp_python" if module == "llama_cpp" else module
        files |= dist_info(name, "0.0.1", f"{module}/__init__.py")
    files |= {f"{module}/__init__.py": broken for module in modules}
    done = cupola(tmp_path, "doctor", PYTHONPATH=str(plant(tmp_path / "packages", files)))
    assert done.returncode == 1
    assert "Problem: No engine is installed that could run a model." in done.stdout
    assert "llama-cpp-python 0.0.1 is installed and cannot be imported: ImportError: libgomp.so.1" in done.stdout
    assert "Mend it: pip install --force-reinstall --no-deps" in done.stdout


def test_two_onnxruntimes_are_reported_with_the_mend(tmp_path: Path) -> None:
    files = dist_info("onnxruntime_gpu", "1.32.0", "onnxruntime/__init__.py")
    files |= dist_info("onnxruntime", "1.32.0", "onnxruntime/__init__.py")
    done = cupola(tmp_path, "doctor", PYTHONPATH=str(plant(tmp_path / "packages", files)))
    assert "onnxruntime and onnxruntime-gpu are both installed" in done.stdout
    assert "pip install 'cupola[cuda]'" in done.stdout
