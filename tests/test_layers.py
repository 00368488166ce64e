"""The house's rules: imports go downward, native libraries have one door each, rooms stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Lowest first. A module may import its own layer and those below.
LAYERS = (
    {"types", "errors", "settings", "settings_file", "quantities", "logs", "json_schemas", "environment", "notify"}
    | {"address", ""},
    {"child"},
    {"models", "hardware", "service"},
    {"runners"},
    {"engine", "chat"},
    {"worker", "tune"},
    {"metrics", "tracing", "telemetry"},
    {"pool"},
    {"api"},
    {"app", "cli", "shim", "healthcheck", "__main__"},
)
# Each native library has its one file, and in the converters one more.
DOORS = {
    "llama_cpp": {"server/runners/llama/library.py", "converters/quantize.py"},
    "onnxruntime": {"server/runners/onnx/session.py", "converters/adapters.py", "converters/builder_memory.py"},
    "onnxruntime_genai": {"server/runners/genai.py", "converters/hf_to_onnx.py"},
}
NEVER = {"pickle", "diskcache"}
NEVER_IN_SERVER = NEVER | {"torch", "transformers", "onnx", "converters", "scripts"}
LONGEST_FILE, LONGEST_FUNCTION = 301, 40


def sources() -> list[Path]:
    return sorted(path for folder in ("server", "converters", "scripts") for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, at any depth."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int:
    room = ([*name.split("."), ""])[1]
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if not own.startswith("server."):
        return
    for name in imported(path):
        if name == "server.__version__" or not name.startswith("server."):
            continue
        assert layer(name) <= layer(own), f"{own} imports {name}, which is above it"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_native_libraries_have_one_door(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for name in imported(path):
        library = name.partition(".")[0]
        refused = NEVER_IN_SERVER if place.startswith("server/") else NEVER
        assert library not in refused, f"{library} has no place in {place}"
        assert place in DOORS.get(library, {place}), f"{library} has its door elsewhere"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("server.app", {"llama_cpp", "onnxruntime", "onnxruntime_genai", "onnx", "tokenizers"}),
        ("server.app", {"numpy", "httpx", "huggingface_hub", "llguidance", "rich"}),  # slow to import, or large
        ("server.worker.main", {"fastapi", "starlette", "pydantic", "asyncio"}),
    ],
)
def test_a_process_imports_only_what_it_needs(module: str, absent: set[str]) -> None:
    command = [sys.executable, "-P", "-c", f"import sys, {module}; print(*sys.modules)"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert not absent & loaded
