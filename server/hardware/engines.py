"""The native engines that are installed: by what package, built for what, and whether they can be imported at all.

Each is imported in a process of its own: a wheel with instructions that this processor lacks, or a driver that hangs,
takes down the asker.
"""

import json
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions

import msgspec

from ..child.platform import describe_exit
from .tool import ask_python
from .types import Device, Engine, EngineName, Problem

MODULES: dict[EngineName, str] = {"llama": "llama_cpp", "onnx": "onnxruntime", "genai": "onnxruntime_genai"}
# The extra of Cupola that brings a distribution. Any two of one module overwrite each other's files.
EXTRAS = {
    "llama-cpp-python": "llama",
    "onnxruntime": "cpu",
    "onnxruntime-gpu": "cuda",
    "onnxruntime-directml": "directml",
    "onnxruntime-openvino": "openvino",
    "onnxruntime-qnn": "qnn",
    "onnxruntime-genai": "cpu",
    "onnxruntime-genai-cuda": "cuda",
    "onnxruntime-genai-directml": "directml",
}
# What a fresh interpreter is told to do: import, and say as a JSON list what the engine was built for.
CHECKS: dict[EngineName, str] = {
    "llama": (
        "import json, pathlib, llama_cpp\n"
        "folder = pathlib.Path(llama_cpp.__file__).parent / 'lib'\n"
        "print(json.dumps([path.name for path in folder.iterdir()]))"
    ),
    "onnx": "import json, onnxruntime\nprint(json.dumps(onnxruntime.get_available_providers()))",
    "genai": "import onnxruntime_genai\nprint('[]')",
}
# llama.cpp has a library for each kind of device it was built for: libggml-cuda.so, libggml-metal.dylib, ggml-cpu.dll.
NORMAL = re.compile(r"[-_.]+")  # names of distributions as PEP 503 compares them
BACKEND = re.compile(r"(?:lib)?ggml-([a-z]+)\.(?:so|dylib|dll)")
# Who reaches a device: execution providers of onnxruntime or backends of llama.cpp; and the extra that brings one.
ROUTES: dict[str, tuple[frozenset[str], str]] = {
    "cuda": (frozenset({"CUDAExecutionProvider", "cuda"}), "cuda"),
    "directml": (frozenset({"DmlExecutionProvider"}), "directml"),
    "metal": (frozenset({"metal"}), "llama"),
    "npu Intel": (frozenset({"OpenVINOExecutionProvider"}), "openvino"),
    "npu Qualcomm": (frozenset({"QNNExecutionProvider"}), "qnn"),
    "npu AMD": (frozenset({"VitisAIExecutionProvider"}), ""),
}
NOWHERE: tuple[frozenset[str], str] = (frozenset(), "")
# There is no extra for these.
ELSEWHERE = {"AMD": "Install AMD's Ryzen AI software with its own onnxruntime: https://ryzenai.docs.amd.com"}


class Package(msgspec.Struct, frozen=True):
    """An installed distribution that puts its files in the place of an engine's module."""

    module: str
    distribution: str
    version: str


def installed(path: list[str] | None = None) -> list[Package]:
    """What is installed for the engines' modules. `path`: where to look instead of sys.path."""
    found = distributions() if path is None else distributions(path=path)
    return sorted((package for each in found for package in _packages(each)), key=lambda package: package.distribution)


def _packages(distribution: Distribution) -> Iterable[Package]:
    """By the files and not by the name: onnxruntime-qnn 2 is a plug-in beside onnxruntime, version 1 replaced it."""
    try:
        name = NORMAL.sub("-", distribution.metadata["Name"] or "").lower()
        if not name.startswith(("onnxruntime", "llama")):
            return
        files = {file.as_posix() for file in distribution.files or ()}
    except (OSError, ValueError, TypeError):  # what pip left of an interrupted installation
        return
    for module in MODULES.values():
        if f"{module}/__init__.py" in files:
            yield Package(module, name, distribution.version)


def conflicts(packages: Sequence[Package]) -> list[Problem]:
    """Distributions that overwrite each other, and how to mend it."""
    problems = []
    for module in MODULES.values():
        names = [package.distribution for package in packages if package.module == module]
        if len(names) > 1:
            extras = [EXTRAS.get(name, "cpu") for name in names]
            extra = next((extra for extra in extras if extra != "cpu"), "cpu")
            problems.append(
                Problem(
                    f"{' and '.join(names)} are both installed, and each overwrites the other's files.",
                    f"{_uninstall(packages)}pip install 'cupola[{extra}]'",
                )
            )
    return problems


def parse(text: str) -> tuple[str, ...]:
    """What a check printed: its last line is a JSON list of execution providers, or of llama.cpp's libraries."""
    try:
        names = json.loads(text.strip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        return ()
    if not isinstance(names, list):
        return ()
    known = [name for name in names if isinstance(name, str)]
    backends = {match[1] for name in known if (match := BACKEND.fullmatch(name))} - {"base"}
    return tuple(sorted(backends)) or tuple(name for name in known if name.endswith("ExecutionProvider"))


def read(name: EngineName, packages: Sequence[Package]) -> Engine:
    """One engine; takes at most SECONDS."""
    package = _package(name, packages)
    if package is None:
        return unchecked(name, packages)
    engine = Engine(name=name, distribution=package.distribution, version=package.version)
    answer = ask_python("-c", CHECKS[name])
    if answer.status is None:
        return unchecked(name, packages)
    if answer.status and not answer.text:  # one that fails at its end, after it has answered, works
        last_words = answer.errors.strip().splitlines() or [describe_exit(answer.status)]
        return msgspec.structs.replace(engine, state="broken", reason=last_words[-1][:300], fix=_reinstall(package))
    return msgspec.structs.replace(engine, providers=parse(answer.text))


def unchecked(name: EngineName, packages: Sequence[Package]) -> Engine:
    """What is known of an engine without importing it."""
    package = _package(name, packages)
    if package is None:
        return Engine(name=name, state="missing", fix=f"pip install 'cupola[{'llama' if name == 'llama' else 'cpu'}]'")
    return Engine(
        name=name, distribution=package.distribution, version=package.version, state="unknown", fix="Ask again later."
    )


def _package(name: EngineName, packages: Sequence[Package]) -> Package | None:
    return next((package for package in packages if package.module == MODULES[name]), None)


def _reinstall(package: Package) -> str:
    """llama.cpp is compiled for the processor it is installed on, so a wheel from elsewhere is to be built again."""
    source = "--no-cache-dir --no-binary llama-cpp-python " if package.module == "llama_cpp" else ""
    return f"pip install --force-reinstall --no-deps {source}{package.distribution}=={package.version}"


def _uninstall(packages: Iterable[Package]) -> str:
    """The command that makes room for another onnxruntime, with its separator; nothing where there is none."""
    names = sorted({package.distribution for package in packages if package.module != MODULES["llama"]})
    return f"pip uninstall -y {' '.join(names)}; " if names else ""


def reached(device: Device, engines: Iterable[Engine], packages: Sequence[Package]) -> Device:
    """The device, as unusable if no installed engine was built for it, with what to do about it."""
    route = f"npu {device.vendor}" if device.kind == "npu" else device.kind
    providers, extra = ROUTES.get(route, NOWHERE)
    if device.state != "ready" or any(providers & set(engine.providers) for engine in engines):
        return device
    room = "" if extra == "llama" else _uninstall(packages)
    fix = f"{room}pip install 'cupola[{extra}]'" if extra else ELSEWHERE.get(device.vendor)
    return msgspec.structs.replace(device, state="no-engine", fix=fix)
