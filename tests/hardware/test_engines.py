"""Which engines are installed, which overwrite each other, and which device they reach."""

from pathlib import Path

import pytest

from server.hardware.engines import Package, conflicts, installed, parse, reached, read
from server.hardware.types import Device, Engine

from .trees import plant

CPU_ONLY = [
    Package("onnxruntime", "onnxruntime", "1.32.0"),
    Package("onnxruntime_genai", "onnxruntime-genai", "0.18.0"),
]


def dist_info(name: str, version: str, *files: str) -> dict[str, str]:
    """What an installer leaves of a wheel."""
    folder = f"{name}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/RECORD": "".join(f"{file},,\n" for file in files),
        **dict.fromkeys(files, ""),  # some versions of importlib.metadata leave out files that are not there
    }


def test_two_distributions_of_one_module_are_a_conflict(tmp_path: Path) -> None:
    files = dist_info("onnxruntime", "1.32.0", "onnxruntime/__init__.py")
    files |= dist_info("onnxruntime_gpu", "1.32.0", "onnxruntime/__init__.py")
    files |= dist_info("onnxruntime-genai", "0.18.0", "onnxruntime_genai/__init__.py")
    packages = installed([str(plant(tmp_path, files))])
    [problem] = conflicts(packages)
    assert "onnxruntime and onnxruntime-gpu are both installed" in problem.message
    uninstall = "pip uninstall -y onnxruntime onnxruntime-genai onnxruntime-gpu"
    assert problem.fix == f"{uninstall}; pip install 'cupola[cuda]'"


def test_a_plug_in_beside_onnxruntime_is_none(tmp_path: Path) -> None:
    """onnxruntime-qnn 2 requires onnxruntime and has a module of its own; version 1 replaced it."""
    files = dist_info("onnxruntime", "1.32.0", "onnxruntime/__init__.py")
    files |= dist_info("onnxruntime-qnn", "2.7.0", "onnxruntime_qnn/__init__.py")
    packages = installed([str(plant(tmp_path, files))])
    assert packages == [Package("onnxruntime", "onnxruntime", "1.32.0")]
    assert conflicts(packages) == []


def test_what_is_left_of_an_interrupted_installation(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime-1.32.0.dist-info").mkdir()
    (tmp_path / "~nnxruntime-1.32.0.dist-info").mkdir()
    assert installed([str(tmp_path)]) == []
    assert read("onnx", []) == Engine(name="onnx", state="missing", fix="pip install 'cupola[cpu]'")


@pytest.mark.parametrize(
    ("text", "providers"),
    [
        (
            'noise\n["CUDAExecutionProvider", "CPUExecutionProvider"]\n',
            ("CUDAExecutionProvider", "CPUExecutionProvider"),
        ),
        (
            '["libggml-base.so", "libggml-cpu.so.0", "libggml-cpu.so", "libggml-cuda.so", "libllama.so"]',
            ("cpu", "cuda"),
        ),
        ('["libggml-metal.dylib", "libggml-blas.dylib", "ggml-vulkan.dll"]', ("blas", "metal", "vulkan")),
        ("[]", ()),
        ("", ()),
        ("{}", ()),
        ("[1, null]", ()),
        ("[" * 10**5, ()),
    ],
)
def test_what_an_engine_was_built_for(text: str, providers: tuple[str, ...]) -> None:
    assert parse(text) == providers


@pytest.mark.parametrize(
    ("device", "provider", "fix"),
    [
        (
            Device(kind="cuda", vendor="NVIDIA", name="RTX"),
            "CUDAExecutionProvider",
            "pip uninstall -y onnxruntime onnxruntime-genai; pip install 'cupola[cuda]'",
        ),
        (
            Device(kind="directml", vendor="AMD", name="Radeon"),
            "DmlExecutionProvider",
            "pip uninstall -y onnxruntime onnxruntime-genai; pip install 'cupola[directml]'",
        ),
        (
            Device(kind="npu", vendor="Intel", name="AI Boost"),
            "OpenVINOExecutionProvider",
            "pip uninstall -y onnxruntime onnxruntime-genai; pip install 'cupola[openvino]'",
        ),
        (
            Device(kind="npu", vendor="Qualcomm", name="Hexagon"),
            "QNNExecutionProvider",
            "pip uninstall -y onnxruntime onnxruntime-genai; pip install 'cupola[qnn]'",
        ),
        (Device(kind="metal", vendor="Apple", name="M1"), "metal", "pip install 'cupola[llama]'"),
    ],
)
def test_a_device_needs_an_engine_that_was_built_for_it(device: Device, provider: str, fix: str) -> None:
    cpu_only = Engine(name="onnx", providers=("CPUExecutionProvider", "cpu"))
    unused = reached(device, [cpu_only], CPU_ONLY)
    assert (unused.state, unused.fix) == ("no-engine", fix)
    assert reached(device, [cpu_only, Engine(name="onnx", providers=(provider,))], CPU_ONLY) == device


def test_a_neural_processor_of_a_stranger() -> None:
    assert reached(Device(kind="npu", vendor="unknown", name="x"), [], []).state == "no-engine"


def test_a_device_without_a_driver_stays_so() -> None:
    device = Device(kind="cuda", vendor="NVIDIA", name="RTX", state="no-driver", fix="the driver")
    assert reached(device, [Engine(name="llama", providers=("cuda",))], []) == device
