"""Direct3D adapters, neural processors and Metal."""

import os
import sys
from pathlib import Path

import pytest

from server.hardware import apple, directml, npu
from server.hardware.types import Device, Problem

from . import published
from .trees import plant


def states(devices: list[Device]) -> list[tuple[str, str, str]]:
    return [(device.vendor, device.name, device.state) for device in devices]


def devices(found: list[Device | Problem]) -> list[Device]:
    return [device for device in found if isinstance(device, Device)]


def test_display_adapters() -> None:
    found = directml.parse(published("pnputil_display.txt"), {"AMD Radeon(TM) Graphics": 512 << 20})
    assert states(found) == [
        ("NVIDIA", "NVIDIA GeForce RTX 2060 with Max-Q Design", "ready"),
        ("AMD", "AMD Radeon(TM) Graphics", "ready"),
    ]
    assert [adapter.memory for adapter in found] == [None, 512 << 20]


def test_a_virtual_adapter_is_none_and_one_without_a_driver_is_unusable() -> None:
    intel, adreno = directml.parse(published("composed_pnputil_display.txt"))
    assert (intel.vendor, intel.state) == ("Intel", "no-driver")
    assert intel.fix is not None
    assert "CM_PROB_FAILED_INSTALL" in intel.fix
    assert (adreno.vendor, adreno.state) == ("Qualcomm", "ready")


def test_labels_in_another_language() -> None:
    german = directml.parse(published("composed_pnputil_display_german.txt"))
    assert states(german) == [("NVIDIA", "NVIDIA GeForce RTX 2060 with Max-Q Design", "ready")]


def test_neural_processors_of_windows() -> None:
    assert states(npu.parse(published("composed_pnputil_npu.txt"))) == [
        ("Intel", "Intel(R) AI Boost", "ready"),
        ("AMD", "NPU Compute Accelerator Device", "no-driver"),
        ("Qualcomm", "Snapdragon(R) X Elite - Hexagon(TM) NPU", "ready"),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Linux")
def test_neural_processors_of_linux(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "sys/bus/pci/devices/0000:00:0b.0/uevent": published("composed_uevent_intel_npu.txt"),
            "sys/bus/pci/devices/0000:00:0b.0/accel/accel0/dev": "261:0\n",
            "sys/bus/pci/devices/0000:c0:00.1/uevent": published("uevent_amd_xdna.txt").replace("DRIVER=amdxdna\n", ""),
            "dev/accel/accel0": "",
            "dev/fastrpc-cdsp": "",
        },
    )
    intel, amd, hexagon = devices(npu.read(root))
    assert (intel.name, intel.driver, intel.state) == ("Intel NPU (Meteor Lake)", "intel_vpu", "ready")
    assert (amd.name, amd.driver, amd.state, amd.fix) == (
        "AMD XDNA 2 NPU (Strix)",
        None,
        "no-driver",
        npu.XDNA_DRIVER,
    )
    assert (hexagon.vendor, hexagon.state) == ("Qualcomm", "ready")


@pytest.mark.skipif(sys.platform == "win32", reason="Linux")
def test_a_node_that_may_not_be_opened(tmp_path: Path) -> None:
    """The driver is bound; its node is not there for us. (Root may open what its mode forbids.)"""
    root = plant(
        tmp_path,
        {
            "sys/bus/pci/devices/0000:c0:00.1/uevent": published("uevent_amd_xdna.txt"),
            "sys/bus/pci/devices/0000:c0:00.1/accel/accel0/dev": "261:0\n",
        },
    )
    if os.geteuid() != 0:
        plant(root, {"dev/accel/accel0": ""})
        (root / "dev/accel/accel0").chmod(0)
    [amd] = devices(npu.read(root))
    assert amd.state == "no-permission"
    assert amd.fix is not None
    assert amd.fix.startswith("sudo usermod -aG render $USER")


def test_metal() -> None:
    assert apple.parse(published("system_profiler_m1_max.json")) == [
        Device(kind="metal", vendor="Apple", name="Apple M1")
    ]
    amd = Device(kind="metal", vendor="AMD", name="AMD Radeon Pro 5300M", memory=4 << 30)
    assert apple.parse(published("composed_system_profiler_intel.json")) == [amd]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"SPDisplaysDataType": 3}', '{"SPDisplaysDataType": [3]}', "[" * 10**5]
)
def test_no_metal(text: str) -> None:
    assert apple.parse(text) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the tools of other systems are not here")
def test_other_systems_tools_are_not_asked() -> None:
    assert directml.read() == []
    assert apple.read() == []
