"""The processor: what it is, what it can compute with, and the cores that this process may really use.

Sources: Linux kernel documentation, "Control Group v2" (cpu.max) and "CFS Bandwidth Control" (cpu.cfs_quota_us); Linux
manual pages, proc_cpuinfo(5); Apple, "Determining Instruction Set Characteristics" (hw.optional); Microsoft,
"IsProcessorFeaturePresent".
"""

import os
import platform
import re
import sys
from pathlib import Path

import msgspec
import psutil

from .cgroup import folders, read_text
from .tool import ask, find
from .types import Cpu

# Our name of an instruction set, and what Linux or macOS call it when it is there.
INSTRUCTIONS = {
    "avx2": {"avx2", "avx2_0"},
    "avx512": {"avx512f"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "amx": {"amx_tile"},
    "neon": {"asimd", "neon", "AdvSIMD"},
    "sve": {"sve"},
    "dotprod": {"asimddp", "FEAT_DotProd"},
}
# Numbers of Windows' IsProcessorFeaturePresent (winnt.h). It has none for VNNI and AMX.
WINDOWS_FEATURES = {"avx2": 40, "avx512": 41, "neon": 19, "sve": 46, "dotprod": 43}
# Arm's Linux has no names of processors: implementer and part, as in util-linux, sys-utils/lscpu-arm.c.
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
}


class Identity(msgspec.Struct, frozen=True):
    """What a system says about its processor. An empty model: it does not say."""

    model: str = ""
    instructions: tuple[str, ...] = ()


def parse(text: str) -> Identity:
    """/proc/cpuinfo, its first processor; x86 has `model name` and `flags`, Arm has numbers and `Features`."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    part = (fields.get("CPU implementer", ""), fields.get("CPU part", ""))
    model = fields.get("model name") or ARM_PARTS.get(part) or " ".join(filter(None, ("Arm" if part[1] else "", *part)))
    return Identity(model, _named(fields.get("flags", fields.get("Features", "")).split()))


def parse_sysctl(text: str) -> Identity:
    """macOS, `sysctl machdep.cpu hw.optional`: "machdep.cpu.brand_string: Apple M1", "hw.optional.neon: 1"."""
    lines = [line.partition(": ") for line in text.splitlines()]
    fields = {key: value.strip() for key, _, value in lines}
    present = [
        key.rpartition(".")[2] for key, value in fields.items() if key.startswith("hw.optional.") and value == "1"
    ]
    return Identity(fields.get("machdep.cpu.brand_string", ""), _named(present))


def parse_quota(text: str) -> float | None:
    """Cores that a `cpu.max` file grants: "200000 100000" is 2.0; "max 100000" is no limit (None).

    Version 1 has the same two numbers in two files, and -1 for no limit.
    """
    fields = re.fullmatch(r"([0-9]{1,18})\s+([0-9]{1,18})", text.strip(), re.ASCII)
    if fields is None or not (int(fields[1]) and int(fields[2])):
        return None
    return int(fields[1]) / int(fields[2])


def read(root: Path = Path("/")) -> Cpu:
    """The processor of this device. `root`: where /proc and /sys are."""
    return _described(_identity(root), _quota(root), root)


def unknown() -> Cpu:
    """What is known of the processor where reading about it failed."""
    return _described(Identity(), None, Path("/"))


def _described(identity: Identity, quota: float | None, root: Path) -> Cpu:
    logical = psutil.cpu_count() or 1
    return Cpu(
        model=identity.model or platform.processor() or "unknown",
        architecture=platform.machine(),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        quota=quota,
        usable_cores=_usable(root, quota),
        instructions=identity.instructions,
    )


def usable_cores(root: Path = Path("/")) -> int:
    """Whole physical cores for an engine's threads; at least one."""
    return max(1, int(_usable(root, _quota(root))))


def _usable(root: Path, quota: float | None) -> float:
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if sys.platform == "linux":
        cores = min(cores, _distinct(root, os.sched_getaffinity(0)))
    return min(cores, quota) if quota else float(cores)


def _distinct(root: Path, logical: set[int]) -> int:
    """Physical cores behind these logical ones: two threads of one core are one."""
    topology = root / "sys/devices/system/cpu"
    siblings = {read_text(topology / f"cpu{number}/topology/thread_siblings_list") for number in logical}
    return len(logical) if "" in siblings else len(siblings)


def _quota(root: Path) -> float | None:
    """The least of what the control groups above this process grant, each in version 2's format."""
    texts = [read_text(folder / "cpu.max") or _version_1(folder) for folder in folders("cpu", root)]
    return min(filter(None, map(parse_quota, texts)), default=None)


def _version_1(folder: Path) -> str:
    return f"{read_text(folder / 'cpu.cfs_quota_us').strip()} {read_text(folder / 'cpu.cfs_period_us').strip()}"


def _identity(root: Path) -> Identity:
    if sys.platform == "win32":
        return _windows()
    if sys.platform == "darwin":
        sysctl = find("sysctl")
        return parse_sysctl(ask([sysctl, "machdep.cpu", "hw.optional"]).text) if sysctl else Identity()
    return parse(read_text(root / "proc/cpuinfo"))


def _windows() -> Identity:
    if sys.platform != "win32":
        return Identity()
    import ctypes
    import winreg

    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    instructions = tuple(name for name, number in WINDOWS_FEATURES.items() if present(number))
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return Identity(str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip(), instructions)
    except OSError:
        return Identity("", instructions)


def _named(flags: list[str]) -> tuple[str, ...]:
    return tuple(name for name, known in INSTRUCTIONS.items() if not known.isdisjoint(flags))
