"""GET /v1/system: `server.hardware.types` on the wire, field by field. Sizes are bytes."""

from pydantic import BaseModel, ConfigDict


class _Body(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CpuBody(_Body):
    model: str
    architecture: str
    physical_cores: int
    logical_cores: int
    quota: float | None
    usable_cores: float
    instructions: list[str]


class MemoryBody(_Body):
    total: int
    available: int
    limit: int | None
    usable: int


class DeviceBody(_Body):
    """An accelerator, and what to do where it cannot be used."""

    kind: str
    vendor: str
    name: str
    memory: int | None
    free: int | None
    driver: str | None
    state: str
    fix: str | None


class EngineBody(_Body):
    """A native engine, and what it was built for."""

    name: str
    distribution: str | None
    version: str | None
    providers: list[str]
    state: str
    reason: str | None
    fix: str | None


class ProblemBody(_Body):
    message: str
    fix: str | None


class SystemBody(_Body):
    """What this device has. `problems` are for a person to read."""

    platform: str
    cpu: CpuBody
    memory: MemoryBody
    disk_free: int | None
    devices: list[DeviceBody]
    engines: list[EngineBody]
    problems: list[ProblemBody]
