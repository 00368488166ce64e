from pathlib import Path

import pytest

from server.errors import ConfigError, ModelNotFound
from server.models.registry import Registry, bundled_models, parse_models
from server.models.spec import FileSource, HuggingFaceSource

FOUNDRY_ALIASES = {
    "phi-4-mini": "phi-4-mini-instruct",
    "phi-3.5-mini": "phi-3.5-mini-instruct",
    "qwen2.5-0.5b": "qwen2.5-0.5b-instruct",
    "qwen2.5-1.5b": "qwen2.5-1.5b-instruct",
    "qwen2.5-7b": "qwen2.5-7b-instruct",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct",
    "deepseek-r1-1.5b": "deepseek-r1-distill-qwen-1.5b",
    "deepseek-r1-7b": "deepseek-r1-distill-qwen-7b",
    "qwen3-0.6b": "qwen3-0.6b",
}
MINE = """
models:
  - name: mine
    licence: MIT
    context_length: 64
    variants:
      - {name: gguf-q8, format: gguf, source: {type: file, path: weights/mine.gguf}}
"""


def overlaid(tmp_path: Path, text: str) -> Registry:
    overlay = tmp_path / "models.yaml"
    overlay.write_text(text)
    return Registry.load(overlay)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def test_every_model_answers_to_its_name_and_aliases(registry: Registry) -> None:
    for model in registry.models:
        for name in (model.name, model.name.upper(), f"{model.name}:latest", *model.aliases):
            assert registry.resolve(name)[0] is model
    for alias, name in FOUNDRY_ALIASES.items():
        assert registry.resolve(alias)[0].name == name


def test_the_default_model_exists_and_is_promised_by_hash(registry: Registry) -> None:
    model, variants = registry.resolve(registry.default)
    assert "smollm2" in model.aliases
    assert variants[0].verified
    assert variants[0].size == 98_362_432


def test_hub_entries_promise_nothing_that_was_not_checked(registry: Registry) -> None:
    for model in registry.models:
        for variant in model.variants:
            if isinstance(variant.source, HuggingFaceSource):
                assert (variant.size, variant.sha256, variant.verified) == (None, None, False)


def test_an_unknown_name_lists_the_known_ones(registry: Registry) -> None:
    with pytest.raises(ModelNotFound, match=r"'gpt-5'.*smollm2-135m-instruct"):
        registry.resolve("gpt-5")


def test_an_engine_or_a_variant_narrows(registry: Registry) -> None:
    _, variants = registry.resolve("phi-4-mini@llama")
    assert {variant.format for variant in variants} == {"gguf"}
    _, variants = registry.resolve("phi-4-mini@onnx-int4-cpu")
    assert [variant.name for variant in variants] == ["onnx-int4-cpu"]
    with pytest.raises(ModelNotFound, match=r"no variant or engine 'gguf-q9'.*smollm2-135m-instruct@gguf-q4_1"):
        registry.resolve("smollm2@gguf-q9")


def test_what_can_be_made_of_a_gguf_needs_no_entry(registry: Registry) -> None:
    model, variants = registry.resolve("smollm2@onnx")
    assert [variant.name for variant in variants] == ["onnx-exact", "onnx-int4", "onnx-int4-128"]
    assert [variant.lossy for variant in variants] == [False, True, True]
    assert {model.origin(variant) for variant in variants} == {model.variants[0]}
    assert registry.resolve("fake")[0].variants == registry.resolve("fake")[1]


def test_an_entry_wins_over_what_can_be_made(tmp_path: Path) -> None:
    listed = MINE + (
        "      - {name: onnx-exact, format: onnx, quantization: int8,"
        " source: {type: derived, variant: gguf-q8, precision: int8}}\n"
    )
    model, variants = overlaid(tmp_path, listed).resolve("mine@onnx-exact")
    assert variants[0].quantization == "int8"
    assert model.origin(variants[0]) == model.variants[0]


def test_an_engine_that_is_not_the_default_is_written_into_the_variant(registry: Registry) -> None:
    model, variants = registry.resolve("phi-4-mini@genai")
    assert {variant.backend for variant in variants} == {"genai"}
    assert model.variants[1].backend == "onnx"


def test_the_overlay_adds_and_points_aliases_elsewhere(tmp_path: Path) -> None:
    registry = overlaid(tmp_path, MINE + "aliases: {smollm2: mine, coder: mine}\n")
    model, variants = registry.resolve("smollm2")
    assert model.name == "mine"
    assert registry.aliases(model) == ("smollm2", "coder")
    assert registry.resolve("smollm2-135m-instruct")[0].name == "smollm2-135m-instruct"
    assert variants[0].source == FileSource(path=str(tmp_path / "weights" / "mine.gguf"))


def test_the_overlay_replaces_a_model_and_its_aliases(tmp_path: Path) -> None:
    registry = overlaid(tmp_path, MINE.replace("name: mine", "name: phi-4-mini-instruct\n    aliases: [phi]"))
    assert registry.resolve("phi")[0].licence == "MIT"
    assert [v.name for v in registry.resolve("phi-4-mini-instruct")[1] if not v.lossy] == ["gguf-q8", "onnx-exact"]
    with pytest.raises(ModelNotFound):
        registry.resolve("phi-4-mini")


def test_a_model_of_the_overlay_may_take_the_name_of_an_alias(tmp_path: Path) -> None:
    assert overlaid(tmp_path, MINE.replace("mine\n", "smollm2\n", 1)).resolve("smollm2")[0].context_length == 64


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: [", "is not valid YAML"),
        ("models: 3", r"models: .*list"),
        ("- a", "top level"),
        ("modles: []", "modles: Extra inputs"),
        (MINE.replace("licence", "license"), r"models\[mine\].licence: Field required.*license"),
        (MINE.replace("gguf-q8,", "Q8,"), r"models\[mine\].variants\[Q8\].name"),
        (MINE.replace("path", "pth"), r"models\[mine\].variants\[gguf-q8\].source.file.path"),
        (MINE + "aliases: {x: nowhere}", "'x' points at 'nowhere'"),
        (MINE + "aliases: {fake: mine}", "'fake' is the name of a model"),
    ],
)
def test_a_bad_overlay_names_the_file_the_key_and_the_fault(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        overlaid(tmp_path, text)
    assert caught.value.exit_code == 78
    assert "models.yaml" in caught.value.message


def test_no_overlay_is_no_error(tmp_path: Path) -> None:
    assert Registry.load(tmp_path / "models.yaml").models == Registry.load().models


def test_an_empty_overlay_is_no_error(tmp_path: Path) -> None:
    assert overlaid(tmp_path, "# nothing yet\n").models == Registry.load().models


def test_the_bundled_file_is_whole() -> None:
    path = bundled_models()
    assert len(parse_models(path.read_text(encoding="utf-8"), path).models) >= 19


@pytest.mark.parametrize("name", ["smollm2+support", "SmolLM2:latest@llama+support"])
def test_an_adapter_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match="'smollm2-135m-instruct' has no adapter 'support'") as caught:
        Registry.load().resolve(name)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "name", ["smollm2:latest", "smollm2:1", "smollm2-135m-instruct:latest@gguf-q4_1", "smollm2@llama"]
)
def test_every_form_of_a_name_leads_to_the_model(name: str) -> None:
    model, variants = Registry.load().resolve(name)
    assert model.name == "smollm2-135m-instruct"
    assert variants
