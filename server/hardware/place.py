"""Which engine reaches which device here: what the choice of a variant needs to know. Pure."""

from dataclasses import dataclass

from .types import Engine, System

# Devices by the words of models.yaml, best first: NPUs, GPUs by their vendor's own way, any GPU, the processor.
CLASSES: tuple[tuple[str, frozenset[str]], ...] = (
    ("NPU", frozenset({"npu", "qnn", "openvino"})),
    ("GPU", frozenset({"cuda", "rocm", "metal"})),
    ("GPU in a generic way", frozenset({"directml", "vulkan"})),
    ("processor", frozenset({"cpu"})),
)
# What an engine calls a device it was built for: providers of ONNX Runtime, backends of llama.cpp.
BUILT_FOR = {
    "CUDAExecutionProvider": "cuda",
    "ROCMExecutionProvider": "rocm",
    "DmlExecutionProvider": "directml",
    "QNNExecutionProvider": "qnn",
    "OpenVINOExecutionProvider": "openvino",
    "VitisAIExecutionProvider": "npu",
    "cuda": "cuda",
    "hip": "rocm",
    "metal": "metal",
    "vulkan": "vulkan",
}
NEEDS_DETECTED = frozenset({"cuda", "directml", "metal", "npu", "qnn"})
# The `onnx` engine runs on these alone; folders for other devices are GenAI's.
ONNX_REACHES = frozenset({"cpu", "cuda"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a device matters to a choice.

    `reach`: devices by engine, of the engines that can be used; `lacking`: how to get each of the others. `memory`:
    bytes that a new process may take now; `device_memory`: free bytes of devices that have memory of their own.
    """

    reach: dict[str, frozenset[str]]
    lacking: dict[str, str]
    memory: int
    device_memory: dict[str, int]
    fingerprint: str

    def device_of(self, backend: str, devices: tuple[str, ...]) -> str | None:
        """The best of `devices` that an engine reaches here; None if there is none."""
        reached = self.reach.get(backend, frozenset()) & set(devices)
        return min(reached, key=class_of, default=None)

    def room_on(self, device: str) -> int:
        """Bytes free where a model for this device would lie."""
        return self.device_memory.get(device, self.memory)


def class_of(device: str) -> int:
    """The place of a device's class in CLASSES."""
    return next((place for place, (_, members) in enumerate(CLASSES) if device in members), len(CLASSES))


def facts_of(system: System) -> Facts:
    """The facts of a system as it was probed."""
    ready = {str(device.kind) for device in system.devices if device.state == "ready"}
    usable = [engine for engine in system.engines if engine.usable]
    reach: dict[str, frozenset[str]] = {engine.name: _reach(engine, ready, usable) for engine in usable}
    return Facts(
        reach={**reach, "fake": frozenset({"cpu"})},
        lacking={engine.name: engine.fix or "" for engine in system.engines if not engine.usable},
        memory=system.memory.usable,
        device_memory={device.kind: device.free for device in system.devices if device.free is not None},
        fingerprint=_fingerprint(system),
    )


def _reach(engine: Engine, ready: set[str], usable: list[Engine]) -> frozenset[str]:
    """Devices of one engine. GenAI runs on the providers of the onnxruntime beside it."""
    names = {provider for other in usable if other.name in _peers(engine) for provider in other.providers}
    built = {BUILT_FOR[name] for name in names if name in BUILT_FOR}
    found = {device for device in built if device not in NEEDS_DETECTED or _kind(device) in ready}
    if engine.name == "onnx":
        found &= ONNX_REACHES
    return frozenset(found | {"cpu"})


def _peers(engine: Engine) -> set[str]:
    return {"onnx", "genai"} if engine.name == "genai" else {engine.name}


def _kind(device: str) -> str:
    """The kind under which a detector reports it."""
    return "npu" if device == "qnn" else device


def _fingerprint(system: System) -> str:
    """What measured speeds depend on: another processor, device or engine version makes them void."""
    cpu = system.cpu
    parts = [cpu.model, cpu.architecture, f"{cpu.usable_cores:g} cores", *cpu.instructions]
    parts += [f"{device.kind} {device.name} {device.driver}" for device in system.devices]
    parts += [f"{engine.distribution} {engine.version}" for engine in system.engines if engine.usable]
    return "; ".join(parts)
