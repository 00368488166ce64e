"""Devices on the PCI bus of a Linux system, with or without a driver."""

import re
from pathlib import Path

import msgspec

from .cgroup import read_text

IDENTITY = re.compile(r"([0-9A-F]{4}):([0-9A-F]{4})")
DISPLAY = 0x03  # base class of graphics adapters, in the PCI Code and ID Assignment Specification


class PciDevice(msgspec.Struct, frozen=True):
    """Vendor and device are four lower-case hexadecimal digits; an empty driver: none is bound."""

    vendor: str
    device: str
    base_class: int
    driver: str = ""


def parse(text: str) -> PciDevice | None:
    """A device's `uevent` file: "DRIVER=intel_vpu", "PCI_CLASS=118000", "PCI_ID=8086:7D1D", one a line.

    Format: Linux kernel, drivers/pci/pci-driver.c, pci_uevent(); the class has three bytes and no leading zeros.
    """
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    identity = IDENTITY.fullmatch(fields.get("PCI_ID", ""))
    code = fields.get("PCI_CLASS", "")
    if identity is None or not re.fullmatch(r"[0-9A-F]{1,6}", code):
        return None
    return PciDevice(identity[1].lower(), identity[2].lower(), int(code, 16) >> 16, fields.get("DRIVER", ""))


def read(root: Path = Path("/")) -> dict[Path, PciDevice]:
    """The devices by their folder in /sys; none where the system has no such folder."""
    folders = sorted((root / "sys/bus/pci/devices").glob("*"))
    parsed = {folder: parse(read_text(folder / "uevent")) for folder in folders}
    return {folder: device for folder, device in parsed.items() if device is not None}
