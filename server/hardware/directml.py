"""Direct3D 12 adapters of a Windows system: what DirectML runs on."""

import sys
from collections.abc import Mapping

from . import pnp
from .tool import SECONDS
from .types import Device, Problem

DISPLAY = "{4d36e968-e325-11ce-bfc1-08002be10318}"  # Windows' setup class of display adapters
INSTALL_DRIVER = "Install the adapter's driver: Settings > Windows Update > Advanced options > Optional updates."


def parse(text: str, memory: Mapping[str, int] | None = None) -> list[Device]:
    """What `pnputil /enum-devices /class Display` prints; `memory`: bytes by the adapter's name.

    Adapters that are not on a hardware bus, such as those of remote desktops, compute nothing.
    """
    sizes = memory or {}
    return [
        Device(
            kind="directml",
            vendor=device.vendor,
            name=device.name,
            memory=sizes.get(device.name),
            state="no-driver" if device.problem else "ready",
            fix=f"{INSTALL_DRIVER} Windows reports {device.problem}." if device.problem else None,
        )
        for device in pnp.parse(text)
    ]


def read() -> list[Device | Problem]:
    """The adapters of this device; takes at most SECONDS."""
    answer = pnp.listed("Display") if sys.platform == "win32" else None
    if answer is None:
        return []
    if answer.late:
        return [Problem(f"Windows did not list its display adapters within {SECONDS} s.")]
    return [*parse(answer.text, _memory())]


def _memory() -> dict[str, int]:
    """Memory of the adapters from their drivers' keys. WMI has 32 bits for it and says 4 GB of larger ones."""
    sizes: dict[str, int] = {}
    if sys.platform == "win32":
        import winreg

        drivers = rf"SYSTEM\CurrentControlSet\Control\Class\{DISPLAY}"
        for number in range(32):
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{drivers}\{number:04}") as key:
                    name = str(winreg.QueryValueEx(key, "DriverDesc")[0])
                    sizes[name] = int(winreg.QueryValueEx(key, "HardwareInformation.qwMemorySize")[0])
            except (OSError, ValueError, TypeError):
                continue
    return sizes
