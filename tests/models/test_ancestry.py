"""Which known model an artifact still is in another form."""

from pathlib import Path

import pytest

from server.models.adopt import describe
from server.models.ancestry import same_model, served_as
from server.models.lineage import RECORD, Record, Step, StoredFile, digest, now, record_of, recorded
from server.models.registry import Registry
from server.models.spec import PypiSource
from server.models.store import Store
from server.settings import Settings

from .test_adopt import HEADER

OTHER = "f" * 64


def record(*tools: str, read: str = OTHER, base: str = "") -> Record:
    steps = tuple(
        Step(tool=tool, inputs={"source": read if number == 0 else OTHER}) for number, tool in enumerate(tools)
    )
    return Record(base_model=base, steps=steps, digest=OTHER, **now())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a model of one's own that has a system message, and whose file is in the store."""
    file = tmp_path / "known.gguf"
    file.write_bytes(HEADER)
    model = describe(str(file), "known", None, None, "MIT").model_copy(update={"system": "Speak English."})
    (tmp_path / "models.yaml").write_text(f"models: [{model.model_dump_json()}]")
    Store(tmp_path).pull(model, model.variants[0], Settings(home=tmp_path))
    return tmp_path


def found(home: Path, about: Record | None) -> str | None:
    known = same_model(about, Registry.load(home / "models.yaml"), Store(home))
    return known.name if known else None


def test_it_is_known_by_its_bytes_through_every_conversion(home: Path) -> None:
    read = digest(recorded(home / "known.gguf"))
    assert found(home, record("gguf-to-hf", "hf-to-onnx", read=read)) == "known"
    assert found(home, record("gguf-to-hf", "prune", "hf-to-onnx", read=read)) is None
    assert found(home, record("gguf-to-hf", "finetune", read=read)) is None
    assert found(home, record("gguf-to-hf")) is None
    assert found(home, None) is None


def test_it_is_known_by_the_name_its_makers_gave_it(home: Path) -> None:
    assert found(home, record("hf-to-onnx", base="HuggingFaceTB/SmolLM2-135M-Instruct")) == "smollm2-135m-instruct"
    assert found(home, record("merge", "hf-to-onnx", base="HuggingFaceTB/SmolLM2-135M-Instruct")) is None


def test_it_is_served_as_that_model(home: Path) -> None:
    registry = Registry.load(home / "models.yaml")
    known, _ = registry.resolve("known")
    made = describe(str(home / "known.gguf"), "mine", None, None, "unknown")
    served = served_as(made, known)
    assert (served.name, served.system, served.licence) == ("mine", "Speak English.", "MIT")
    assert served_as(made.model_copy(update={"licence": "Apache-2.0"}), known).licence == "Apache-2.0"
    assert served_as(made, None) == made


def test_a_record_beside_other_bytes_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(HEADER)
    told = record("hf-to-gguf").model_copy(update={"files": recorded(file), "licence": "MIT"})
    (tmp_path / RECORD).write_text(told.model_dump_json())
    (tmp_path / "README.md").write_text("laid beside it later")
    assert record_of(tmp_path) == record_of(file) == told
    assert describe(str(file), None, None, None, "unknown").licence == "MIT"
    file.write_bytes(HEADER + b"\0")
    assert record_of(tmp_path) is None
    assert describe(str(file), None, None, None, "unknown").licence == "unknown"


def test_it_is_known_where_it_was_never_pulled(tmp_path: Path) -> None:
    variant = Registry.load().resolve("smollm2@gguf-q4_1")[1][0]
    assert isinstance(variant.source, PypiSource)
    assert variant.sha256 is not None
    read = digest([StoredFile(name=variant.source.file, size=1, sha256=variant.sha256)])
    assert found(tmp_path, record("gguf-to-hf", read=read)) == "smollm2-135m-instruct"
