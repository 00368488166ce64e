"""Neural processors: Intel's and AMD's on the PCI bus of Linux, Qualcomm's Hexagon, and what Windows lists.

Device ids: Linux kernel, drivers/accel/ivpu/ivpu_drv.h and drivers/accel/amdxdna/amdxdna_pci_drv.c. Hexagon is
reached by the FastRPC driver (drivers/misc/fastrpc.c). Windows has all of them in its setup class ComputeAccelerator.
Apple's Neural Engine is not listed: no engine of Cupola can use it.
"""

import os
import sys
from pathlib import Path

import msgspec

from . import pci, pnp
from .tool import SECONDS
from .types import Device, Problem

OPENVINO_DRIVER = "Load the driver with 'sudo modprobe intel_vpu' and install https://github.com/intel/linux-npu-driver"
XDNA_DRIVER = "Install Linux 6.14 or newer, which has the driver amdxdna, or https://github.com/amd/xdna-driver"
WINDOWS_DRIVER = "Install the NPU's driver: Settings > Windows Update > Advanced options > Optional updates."
PERMISSION = "sudo usermod -aG {group} $USER  # then log in again"


class Family(msgspec.Struct, frozen=True):
    """Neural processors of one vendor, by the id of their PCI devices."""

    vendor: str
    driver_fix: str
    names: dict[str, str]


FAMILIES = {
    "8086": Family(
        "Intel",
        OPENVINO_DRIVER,
        {
            "7d1d": "Intel NPU (Meteor Lake)",
            "ad1d": "Intel NPU (Arrow Lake)",
            "643e": "Intel NPU (Lunar Lake)",
            "b03e": "Intel NPU (Panther Lake)",
            "fd3e": "Intel NPU (Wildcat Lake)",
        },
    ),
    "1022": Family("AMD", XDNA_DRIVER, {"1502": "AMD XDNA NPU (Phoenix)", "17f0": "AMD XDNA 2 NPU (Strix)"}),
}


def parse(text: str) -> list[Device]:
    """What `pnputil /enum-devices /class ComputeAccelerator` prints."""
    return [
        Device(
            kind="npu",
            vendor=device.vendor,
            name=device.name,
            state="no-driver" if device.problem else "ready",
            fix=f"{WINDOWS_DRIVER} Windows reports {device.problem}." if device.problem else None,
        )
        for device in pnp.parse(text)
    ]


def read(root: Path = Path("/")) -> list[Device | Problem]:
    """The neural processors of this device; takes at most SECONDS. `root`: where /dev and /sys are."""
    if sys.platform != "win32":
        return [*_on_pci(root), *_hexagon(root)]
    answer = pnp.listed("ComputeAccelerator")
    if answer is None:
        return []
    if answer.late:
        return [Problem(f"Windows did not list its neural processors within {SECONDS} s.")]
    return [*parse(answer.text)]


def _on_pci(root: Path) -> list[Device]:
    found = []
    for folder, device in pci.read(root).items():
        family = FAMILIES.get(device.vendor)
        if family is None or device.device not in family.names:
            continue
        nodes = [root / "dev/accel" / entry.name for entry in sorted(folder.glob("accel/accel*"))]
        npu = Device(kind="npu", vendor=family.vendor, name=family.names[device.device], driver=device.driver or None)
        if not device.driver or not nodes:
            npu = msgspec.structs.replace(npu, state="no-driver", fix=family.driver_fix)
        found.append(_permitted(npu, nodes, "render"))
    return found


def _hexagon(root: Path) -> list[Device]:
    nodes = sorted((root / "dev").glob("fastrpc-cdsp*"))
    if not nodes:
        return []
    npu = Device(kind="npu", vendor="Qualcomm", name="Qualcomm Hexagon NPU", driver="fastrpc")
    return [_permitted(npu, nodes, "fastrpc")]


def _permitted(npu: Device, nodes: list[Path], group: str) -> Device:
    """The device, as unusable if this user may not open any of its nodes."""
    if npu.state != "ready" or any(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        return npu
    return msgspec.structs.replace(npu, state="no-permission", fix=PERMISSION.format(group=group))
