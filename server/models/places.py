"""Where a model runs, in the words of Foundry Local: `<name>-<place>:<version>`, as in `smollm2-generic-cpu:1`.

Such an id means the model on that kind of device, so it admits only what runs there.
"""

from dataclasses import dataclass
from typing import Literal

from .names import CURRENT_VERSION


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of device. `devices` are those of models.yaml; `provider` is what ONNX Runtime has for it."""

    suffix: str
    kind: Literal["NPU", "GPU", "CPU"]
    provider: str
    devices: frozenset[str]


CPU = Place("generic-cpu", "CPU", "CPUExecutionProvider", frozenset({"cpu"}))
# Best first, which is the order that clients expect of a list.
PLACES = (
    Place("qnn-npu", "NPU", "QNNExecutionProvider", frozenset({"qnn"})),
    Place("openvino-npu", "NPU", "OpenVINOExecutionProvider", frozenset({"openvino"})),
    Place("vitis-npu", "NPU", "VitisAIExecutionProvider", frozenset({"npu"})),
    Place("cuda-gpu", "GPU", "CUDAExecutionProvider", frozenset({"cuda"})),
    # Old clients know four providers and refuse a list with a fifth: WebGPU stands for any way to any GPU.
    Place("generic-gpu", "GPU", "WebGpuExecutionProvider", frozenset({"rocm", "metal", "directml", "vulkan"})),
    CPU,
)


def place_of(device: str) -> Place:
    """The place of a device."""
    return next((place for place in PLACES if device in place.devices), CPU)


def placed(name: str) -> tuple[str, Place] | None:
    """A name that ends with a place, apart; None for one that does not."""
    for place in PLACES:
        base = name.removesuffix(f"-{place.suffix}")
        if base and base != name:
            return base, place
    return None


def place_id(name: str, place: Place) -> str:
    """What Foundry Local's clients call a model in its place."""
    return f"{name}-{place.suffix}:{CURRENT_VERSION}"
