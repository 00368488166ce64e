"""Real models and what they are compared with, made once for all tests here."""

from pathlib import Path
from time import perf_counter

import pytest

from converters import quality, reference
from converters.blocks import Floats
from converters.gguf_to_onnx import Outcome, convert
from server.models import gguf
from server.models.registry import Registry
from server.models.store import Store
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement
from server.settings import Settings

from .outside import Outside

POSITIONS = 500


def load(backend: str, artifact: Path, context: int = 512) -> ModelRunner:
    """One thread, that does not spin: what else runs on the machine then costs a share of time, not a multiple."""
    return load_runner(backend, artifact, Placement(threads=1, slots=1, spin=False, context=context), lambda _: None)


def say(figure: str) -> None:
    """For whoever runs the tests with `-s`."""
    print(figure)  # noqa: T201


@pytest.fixture(scope="session")
def coder_model(real_home: Path) -> Path:
    """Qwen2.5-Coder-0.5B: another architecture, mixed block types, a vocabulary of 152,000 and a head of its own."""
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve("qwen2.5-coder-0.5b")
    return store.path(store.pull(model, variants[0], Settings(home=real_home)))


@pytest.fixture(scope="session")
def coder_conversion(coder_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, float]:
    """What the conversion made, and the seconds it took."""
    start = perf_counter()
    outcome = convert(coder_model, tmp_path_factory.mktemp("converted") / "coder")
    return outcome, perf_counter() - start


@pytest.fixture(scope="session")
def int4_outcome(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The default model at 4 bits."""
    return convert(real_model, tmp_path_factory.mktemp("converted") / "int4", "int4")


@pytest.fixture(scope="session")
def coder_outcome(coder_conversion: tuple[Outcome, float]) -> Outcome:
    return coder_conversion[0]


@pytest.fixture(scope="session")
def prose_tokens(real_model: Path) -> list[int]:
    """The bundled text in the default model's tokens."""
    runner = load("llama", real_model)
    tokens = runner.tokenizer.encode(quality.prose(), special=True)
    runner.close()
    assert len(tokens) >= POSITIONS
    return tokens[:POSITIONS]


@pytest.fixture(scope="session")
def truth(real_model: Path, prose_tokens: list[int]) -> Floats:
    """Logits of the default model over the text, [positions, vocabulary]."""
    return reference.logits(gguf.read(real_model), prose_tokens, range(POSITIONS))


@pytest.fixture(scope="session")
def outside() -> Outside:
    """llama.cpp's own converter."""
    return Outside()


@pytest.fixture(scope="session")
def sentencepiece(outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of SentencePiece, `tokenizer.model`."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text(quality.prose(), encoding="utf-8")
    return outside.train(folder / "text", folder / "small")
