"""Models that make embeddings, from models.yaml to the store: what is pulled, what is made of it, what is chosen."""

import shutil
from pathlib import Path

import pytest

from server.errors import ConversionFailed, InvalidValue
from server.hardware.place import Facts
from server.models.choice import Chooser
from server.models.registry import Registry
from server.models.spec import DerivedSource, FileSource, ModelsFile, ModelSpec, Variant
from server.models.store import Store
from server.runners import load_model
from server.runners.base import EncoderInfo, Placement
from server.settings import Settings
from server.tune.tuner import Tuner

from ..converters.test_encoder_to_onnx import HIDDEN, PLACES, WORDS, write

FACTS = Facts(
    reach={name: frozenset({"cpu"}) for name in ("llama", "onnx", "genai", "fake")},
    lacking={},
    memory=1 << 34,
    device_memory={},
    fingerprint="test",
)


def encoder_of(folder: Path) -> ModelSpec:
    """A model whose safetensors are in this folder."""
    source = Variant(name="safetensors", format="safetensors", source=FileSource(path=str(folder)))
    made = DerivedSource(variant="safetensors", converter="encoder-to-onnx", precision="fp32")
    variants = (source, Variant(name="onnx-fp32", format="onnx", source=made))
    return ModelSpec(name="tiny", licence="MIT", context_length=PLACES, tasks=("embeddings",), variants=variants)


def chooser_of(model: ModelSpec, home: Path) -> Chooser:
    return Chooser(Registry(ModelsFile(models=(model,))), Store(home), FACTS)


def test_it_is_made_of_the_download_and_loads(tmp_path: Path, home: Path) -> None:
    model, store = encoder_of(write(tmp_path / "source")), Store(home)
    manifest = store.pull(model, model.variants[1], Settings(home=home))
    assert manifest.derivation is not None
    assert (manifest.derivation.rounded, manifest.quality) == (0, None)
    assert {file.name for file in manifest.files} == {"config.json", "model.onnx", "model.onnx.data", "tokenizer.json"}
    loaded = load_model("onnx", store.path(manifest), Placement(threads=1), lambda _: None)
    assert isinstance(loaded.info, EncoderInfo)
    assert (loaded.info.vocab_size, loaded.info.dimension, loaded.info.context_length) == (WORDS, HIDDEN, PLACES)
    loaded.close()
    assert store.pull(model, model.variants[1], Settings(home=home)) == manifest


def test_what_cannot_be_made_leaves_the_download_only(tmp_path: Path, home: Path) -> None:
    model, store = encoder_of(write(tmp_path / "source", config={"model_type": "t5"})), Store(home)
    with pytest.raises(ConversionFailed, match="'t5' cannot be converted"):
        store.pull(model, model.variants[1], Settings(home=home))
    assert store.manifest(model, model.variants[0]) is not None
    assert store.manifest(model, model.variants[1]) is None


def test_no_engine_runs_what_is_pulled_and_genai_runs_no_encoder(tmp_path: Path, home: Path) -> None:
    model = encoder_of(write(tmp_path / "source"))
    Store(home).pull(model, model.variants[1], Settings(home=home))
    _, choices = chooser_of(model, home).ranking_with_sizes("tiny", 4096, 8)
    assert [(choice.variant.name, choice.variant.backend, choice.usable) for choice in choices] == [
        ("onnx-fp32", "onnx", True),
        ("safetensors", "none", False),
    ]
    assert choices[0].candidate.needs
    assert choices[1].reason == "no engine runs safetensors; other variants are made of it"


def test_tune_says_that_it_measures_text(tmp_path: Path, home: Path) -> None:
    model = encoder_of(write(tmp_path / "source"))
    tuner = Tuner(Settings(home=home), chooser_of(model, home), lambda *_: None, lambda _: None)
    with pytest.raises(InvalidValue, match="makes embeddings"):
        tuner.tune("tiny", max_kl=0.02, create=False, report=lambda _: None)


def test_the_bundled_encoder_is_pinned_by_its_hash() -> None:
    model = Registry.load().model("minilm")
    assert model.encodes
    assert all(variant.verified for variant in model.variants)


def test_a_folder_of_the_users_own_is_copied_whole(tmp_path: Path, home: Path) -> None:
    folder = write(tmp_path / "source")
    model, store = encoder_of(folder), Store(home)
    manifest = store.pull(model, model.variants[0], Settings(home=home))
    shutil.rmtree(folder)
    assert (store.path(manifest) / "model.safetensors").is_file()
