"""From a probed system to what a choice of variants needs to know."""

import pytest

from server.hardware.place import CLASSES, class_of, facts_of
from server.hardware.types import Cpu, Device, Engine, Memory, System

CPU = Cpu(
    model="Example 9000",
    architecture="x86_64",
    physical_cores=8,
    logical_cores=16,
    quota=None,
    usable_cores=8.0,
    instructions=("avx2",),
)
LLAMA = Engine(name="llama", distribution="llama-cpp-python", version="1", providers=("cpu", "cuda"))
ONNX = Engine(name="onnx", distribution="onnxruntime-gpu", version="2", providers=("CUDAExecutionProvider",))
GENAI = Engine(name="genai", distribution="onnxruntime-genai-cuda", version="3")
MISSING = Engine(name="llama", state="missing", fix="pip install 'cupola[llama]'")
GPU = Device(kind="cuda", vendor="NVIDIA", name="RTX", memory=8_000, free=6_000, driver="550")


def system(*engines: Engine, devices: tuple[Device, ...] = ()) -> System:
    memory = Memory(total=100, available=80, limit=50, usable=40)
    return System(platform="Linux", cpu=CPU, memory=memory, disk_free=1, devices=devices, engines=engines, problems=())


def test_a_processor_is_always_reached() -> None:
    facts = facts_of(system(LLAMA, ONNX, GENAI))
    assert {name: facts.reach[name] for name in ("llama", "onnx", "genai")} == dict.fromkeys(
        ("llama", "onnx", "genai"), frozenset({"cpu"})
    )
    assert facts.room_on("cpu") == 40


def test_a_gpu_is_reached_by_what_was_built_for_it_and_where_it_works() -> None:
    facts = facts_of(system(LLAMA, ONNX, GENAI, devices=(GPU,)))
    assert facts.reach["llama"] == facts.reach["onnx"] == facts.reach["genai"] == {"cpu", "cuda"}
    assert facts.room_on("cuda") == 6_000
    broken = Device(kind="cuda", vendor="NVIDIA", name="RTX", state="no-driver", fix="install it")
    assert "cuda" not in facts_of(system(LLAMA, ONNX, GENAI, devices=(broken,))).reach["llama"]


def test_devices_of_packages_are_genais_alone() -> None:
    onnx = Engine(name="onnx", distribution="onnxruntime-qnn", version="1", providers=("QNNExecutionProvider",))
    npu = Device(kind="npu", vendor="Qualcomm", name="Hexagon")
    facts = facts_of(system(onnx, GENAI, devices=(npu,)))
    assert facts.device_of("genai", ("cpu", "qnn")) == "qnn"
    assert facts.device_of("onnx", ("cpu", "qnn")) == "cpu"
    assert facts.device_of("onnx", ("qnn",)) is None


def test_an_engine_that_is_not_there_says_how_to_get_it() -> None:
    facts = facts_of(system(MISSING, ONNX))
    assert "llama" not in facts.reach
    assert facts.lacking["llama"] == "pip install 'cupola[llama]'"
    assert facts.device_of("llama", ("cpu",)) is None


@pytest.mark.parametrize(
    ("better", "worse"), [("npu", "cuda"), ("cuda", "directml"), ("vulkan", "cpu"), ("cpu", "abacus")]
)
def test_classes_are_in_order(better: str, worse: str) -> None:
    assert class_of(better) < class_of(worse)
    assert class_of("cpu") == len(CLASSES) - 1


def test_speeds_are_void_on_another_device_or_engine() -> None:
    base = facts_of(system(LLAMA, ONNX)).fingerprint
    newer = Engine(name="onnx", distribution="onnxruntime-gpu", version="3")
    assert facts_of(system(LLAMA, ONNX)).fingerprint == base
    assert facts_of(system(LLAMA, newer)).fingerprint != base
    assert facts_of(system(LLAMA, ONNX, devices=(GPU,))).fingerprint != base
