"""What a device has, as the detectors report it. Sizes are bytes; cores are fractions where a quota is one.

`GET /v1/system` is these structs, field by field; `cupola doctor --json` adds the models.
"""

from typing import Literal

import msgspec

# How an engine reaches a device; the words that a variant's `devices` in models.yaml has for the same thing.
Kind = Literal["cuda", "directml", "npu", "metal"]
DeviceState = Literal["ready", "no-driver", "no-permission", "no-engine"]
EngineState = Literal["ready", "missing", "broken", "unknown"]
EngineName = Literal["llama", "onnx", "genai"]


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """The processor, and how much of it this process may use."""

    model: str
    architecture: str
    """As the system names it: x86_64, aarch64, arm64, AMD64."""
    physical_cores: int
    logical_cores: int
    quota: float | None
    """Cores that the cgroups grant; None without a limit."""
    usable_cores: float
    """Physical cores within the affinity mask and the quota: 1.5 where the quota is one and a half."""
    instructions: tuple[str, ...]
    """Of AVX2, AVX-512, VNNI, AMX, NEON, SVE and dot-product, those that kernels of an engine may use."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory."""

    total: int
    available: int
    """What the system could give to a new process without swapping."""
    limit: int | None
    """The lowest limit of the cgroups this process is in; None without one."""
    usable: int
    """What a new process may take now: `available`, or what the tightest cgroup leaves."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """An accelerator. One that can be reached in two ways (an NVIDIA GPU on Windows) is listed once for each."""

    kind: Kind
    vendor: str
    name: str
    memory: int | None = None
    """Its own memory; None where it is unknown or shared with the processor."""
    free: int | None = None
    driver: str | None = None
    """Version or name of the driver."""
    state: DeviceState = "ready"
    """no-engine: the driver works, but no installed engine was built for this device."""
    fix: str | None = None
    """What to do about a state that is not ready."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A native engine: a module of `server.runners` and the package it needs."""

    name: EngineName
    distribution: str | None = None
    version: str | None = None
    providers: tuple[str, ...] = ()
    """What it was built for, in its own words: CUDAExecutionProvider, metal."""
    state: EngineState = "ready"
    """broken: installed, but importing it fails. unknown: its check did not end in time; loading a model will tell."""
    reason: str | None = None
    """How importing it failed."""
    fix: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a model may be tried on it."""
        return self.state in ("ready", "unknown")


class Problem(msgspec.Struct, frozen=True):
    """Something a person should know or mend."""

    message: str
    fix: str | None = None


class System(msgspec.Struct, frozen=True, kw_only=True):
    """This device at one moment."""

    platform: str
    cpu: Cpu
    memory: Memory
    disk_free: int | None
    """Bytes free where CUPOLA_HOME is or will be; None where the file system did not answer."""
    devices: tuple[Device, ...]
    engines: tuple[Engine, ...]
    problems: tuple[Problem, ...]
