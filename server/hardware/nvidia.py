"""NVIDIA GPUs: by the driver's management library, else by nvidia-smi, else by the PCI bus (then without a driver)."""

import re
import sys
import time
from pathlib import Path

from . import pci
from .tool import SECONDS, Answer, ask, ask_python, find
from .types import Device, Problem

QUERY = ["--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv"]
VENDOR = "10de"
# One of these is there when a driver is loaded: natively, and in Windows' subsystem for Linux.
TRACES = ("proc/driver/nvidia", "dev/nvidiactl", "dev/dxg")
INSTALL_DRIVER = "Install NVIDIA's driver (https://www.nvidia.com/drivers), restart, and check it with: nvidia-smi"
HANGS = "See whether nvidia-smi answers at all; a restart of the device brings back a driver that hangs."


def parse(text: str) -> list[Device]:
    """What `nvidia-smi --query-gpu=... --format=csv` prints: a line of column names, then a line for each GPU.

    Names and numbers carry units: "memory.total [MiB]", "8188 MiB". GPUs that share the processor's memory (GB10) have
    "[N/A]" for it.
    """
    lines = [[field.strip() for field in line.split(",")] for line in text.strip().splitlines()]
    names = [name.partition(" ")[0] for name in lines[0]] if lines else []
    found = []
    for line in lines[1:]:
        fields = dict(zip(names, line, strict=False))
        if len(line) != len(names) or not fields.get("name"):
            continue
        found.append(
            Device(
                kind="cuda",
                vendor="NVIDIA",
                name=fields["name"],
                memory=_bytes(fields.get("memory.total", "")),
                free=_bytes(fields.get("memory.free", "")),
                driver=fields.get("driver_version"),
            )
        )
    return found


def read(root: Path = Path("/")) -> list[Device | Problem]:
    """The GPUs of this device; takes at most SECONDS. `root`: where /proc, /dev and /sys are."""
    started = time.monotonic()
    answer = Answer(1)
    if sys.platform == "win32" or any((root / trace).exists() for trace in TRACES):
        answer = ask_python("-m", "server.hardware.nvml")
    smi = find("nvidia-smi")
    if answer.status and smi:
        answer = ask([smi, *QUERY], max(0.1, SECONDS - (time.monotonic() - started)))
    if answer.late:
        return [Problem(f"NVIDIA's driver did not answer within {SECONDS} s.", HANGS)]
    return [*(parse(answer.text) if answer.status == 0 else _without_driver(root))]


def _without_driver(root: Path) -> list[Device]:
    """GPUs on the bus. A driver that is bound and does not answer is as good as none."""
    return [
        Device(
            kind="cuda",
            vendor="NVIDIA",
            name=f"NVIDIA GPU [{VENDOR}:{device.device}]",
            driver=device.driver or None,
            state="no-driver",
            fix=INSTALL_DRIVER,
        )
        for device in pci.read(root).values()
        if device.vendor == VENDOR and device.base_class == pci.DISPLAY
    ]


def _bytes(text: str) -> int | None:
    size = re.fullmatch(r"([0-9]{1,12}) MiB", text)
    return int(size[1]) << 20 if size else None
