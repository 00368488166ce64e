"""GPUs that Metal runs on, as macOS lists them."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from .tool import SECONDS, ask, find
from .types import Device, Problem

# One of them is there, depending on the version of macOS. It names a family of features ("spdisplays_metal3",
# "spdisplays_mtlgpufamilyapple7", "spdisplays_supported") or is "spdisplays_notsupported".
METAL_KEYS = ("spdisplays_metal", "spdisplays_metalfamily", "spdisplays_mtlgpufamilysupport")
UNITS = {"MB": 1 << 20, "GB": 1 << 30}


def parse(text: str) -> list[Device]:
    """What `system_profiler SPDisplaysDataType -json` prints. Apple's own GPUs share the processor's memory."""
    return [
        Device(
            kind="metal",
            vendor=_vendor(str(gpu.get("spdisplays_vendor", ""))),
            name=str(gpu.get("sppci_model") or gpu.get("_name") or "GPU"),
            memory=_bytes(str(gpu.get("spdisplays_vram", ""))),
        )
        for gpu in _gpus(text)
        if _runs_metal(gpu)
    ]


def read() -> list[Device | Problem]:
    """The GPUs of this device; takes at most SECONDS."""
    profiler = find("system_profiler") if sys.platform == "darwin" else None
    if profiler is None:
        return []
    answer = ask([profiler, "SPDisplaysDataType", "-json"])
    if answer.late:
        return [Problem(f"macOS did not list its graphics processors within {SECONDS} s.")]
    return [*parse(answer.text)]


def _gpus(text: str) -> Iterator[dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    listed = document.get("SPDisplaysDataType") if isinstance(document, dict) else None
    yield from (gpu for gpu in listed if isinstance(gpu, dict)) if isinstance(listed, list) else ()


def _runs_metal(gpu: dict[str, Any]) -> bool:
    said = [str(gpu[key]) for key in METAL_KEYS if key in gpu]
    return any(not value.endswith("notsupported") for value in said)


def _vendor(text: str) -> str:
    """ "sppci_vendor_Apple", "sppci_vendor_amd", "Intel" """
    name = text.removeprefix("sppci_vendor_")
    return {"amd": "AMD", "intel": "Intel", "Nvidia": "NVIDIA"}.get(name, name or "unknown")


def _bytes(text: str) -> int | None:
    size = re.fullmatch(r"([0-9]{1,6}) (MB|GB)", text)
    return int(size[1]) * UNITS[size[2]] if size else None
