"""The processor, its instruction sets and the cores that may be used."""

import os
import sys
from pathlib import Path

import pytest

from server.hardware.cpu import parse, parse_quota, parse_sysctl, read, unknown, usable_cores

from . import published
from .trees import plant

V1 = "31 23 0:28 /docker/ab /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("name", "model", "instructions"),
    [
        ("cpuinfo_raspberry_pi_5.txt", "Cortex-A76", ("neon", "dotprod")),
        ("cpuinfo_graviton3.txt", "Neoverse-V1", ("neon", "sve", "dotprod")),
        ("cpuinfo_granite_rapids.txt", "Intel(R) Xeon(R) 6972P", ("avx2", "avx512", "vnni", "amx")),
    ],
)
def test_linux(name: str, model: str, instructions: tuple[str, ...]) -> None:
    identity = parse(published(name))
    assert (identity.model, identity.instructions) == (model, instructions)


def test_an_arm_part_without_a_name_is_numbers() -> None:
    assert parse("CPU implementer : 0x51\nCPU part : 0x001\n").model == "Arm 0x51 0x001"
    assert parse("").model == ""


def test_macos() -> None:
    identity = parse_sysctl(published("sysctl_m4_max.txt"))
    assert (identity.model, identity.instructions) == ("Apple M4 Max", ("neon", "dotprod"))
    intel = parse_sysctl(
        "hw.optional.avx2_0: 1\nhw.optional.avx512f: 0\nmachdep.cpu.brand_string: Intel(R) Core(TM) i7\n"
    )
    assert (intel.model, intel.instructions) == ("Intel(R) Core(TM) i7", ("avx2",))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2.0),
        ("150000 100000", 1.5),
        ("max 100000", None),
        ("-1 100000", None),
        ("0 100000", None),
        ("100000 0", None),
        ("", None),
        ("٣ ٤", None),
    ],
)
def test_a_quota(text: str, cores: float | None) -> None:
    assert parse_quota(text) == cores


def test_the_least_quota_of_all_levels_counts(tmp_path: Path) -> None:
    """A service with a quota of four cores, in a slice with one of half a core."""
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/edge.slice/cupola.service\n",
            "proc/self/mountinfo": V2,
            "proc/cpuinfo": published("cpuinfo_raspberry_pi_5.txt"),
            "sys/fs/cgroup/edge.slice/cupola.service/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/edge.slice/cpu.max": "50000 100000\n",
        },
    )
    cpu = read(root)
    assert (cpu.model, cpu.quota, cpu.usable_cores) == ("Cortex-A76", 0.5, 0.5)
    assert usable_cores(root) == 1


def test_version_1_has_a_quota_too(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/docker/ab\n2:memory:/docker/ab\n",
            "proc/self/mountinfo": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "75000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
        },
    )
    assert read(root).quota == 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has an affinity mask")
def test_two_threads_of_a_core_are_one_core(tmp_path: Path) -> None:
    cpus = [f"sys/devices/system/cpu/cpu{number}" for number in os.sched_getaffinity(0)]
    siblings = {f"{cpu}/topology/thread_siblings_list": "0-1\n" for cpu in cpus}
    assert read(plant(tmp_path, siblings)).usable_cores == 1.0


def test_nothing_can_be_read(tmp_path: Path) -> None:
    cpu = read(tmp_path)
    assert cpu.quota is None
    assert cpu.instructions == ()
    assert cpu.usable_cores >= 1
    assert unknown().model
