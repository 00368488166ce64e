"""Devices of a Windows system, as its own `pnputil` lists them: quick, without elevation, from Windows 10 1903 on."""

import re

import msgspec

from .tool import SECONDS, Answer, ask, find

INSTANCE = re.compile(r"(?:PCI|ACPI)\\\S+")
PROBLEM = re.compile(r"\[(CM_PROB_\w+)\]")
VENDORS = {
    "VEN_10DE": "NVIDIA",
    "VEN_8086": "Intel",
    "VEN_1002": "AMD",
    "VEN_1022": "AMD",
    "QCOM": "Qualcomm",
    "VEN_QCOM": "Qualcomm",
}


class PnpDevice(msgspec.Struct, frozen=True):
    """A device on a hardware bus. `problem` is Windows' name for what ails it, such as CM_PROB_FAILED_INSTALL."""

    name: str
    vendor: str
    problem: str = ""


def parse(text: str) -> list[PnpDevice]:
    """What `pnputil /enum-devices` prints: blocks of "Label: value", parted by empty lines.

    Labels are in the user's language, so the order counts: the instance first, then the description. Virtual adapters
    (ROOT\\..., SWD\\...) are no devices.
    """
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        values = [value.strip() for _, colon, value in (line.partition(":") for line in block.splitlines()) if colon]
        if len(values) < 2 or not INSTANCE.fullmatch(values[0]):
            continue
        problem = PROBLEM.search(block)
        found.append(PnpDevice(values[1], _vendor(values[0]), problem[1] if problem else ""))
    return found


def _vendor(instance: str) -> str:
    hardware = instance.split("\\")[1]
    return next((vendor for mark, vendor in VENDORS.items() if hardware.startswith(mark)), "unknown")


def listed(setup_class: str) -> Answer | None:
    """The present devices of a device setup class; None where there is no pnputil."""
    pnputil = find("pnputil")
    return ask([pnputil, "/enum-devices", "/connected", "/class", setup_class], SECONDS) if pnputil else None
