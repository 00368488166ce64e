"""Ids of Foundry Local: a model on one kind of device."""

from pathlib import Path

import pytest

from server.api.foundry.catalogue import entries, loaded
from server.errors import ModelNotFound
from server.hardware.place import Facts
from server.models.choice import Chooser
from server.models.places import CPU, PLACES, place_id, place_of, placed
from server.models.registry import Registry
from server.models.spec import FileSource, ModelsFile, ModelSpec, Variant
from server.models.store import Store

BOTH = ModelSpec(
    name="both",
    aliases=("two",),
    licence="MIT",
    context_length=64,
    variants=(
        Variant(name="small", format="gguf", devices=("cpu", "cuda"), source=FileSource(path="/a.gguf"), size=7),
        Variant(name="folder", format="onnx", devices=("cpu",), source=FileSource(path="/b")),
    ),
)
FAKE = ModelSpec(name="fake", licence="MIT", context_length=64, variants=(Variant(name="weightless", format="fake"),))
NAMED = FAKE.model_copy(update={"name": "fake-generic-cpu"})
WITH_CUDA = {"llama": frozenset({"cpu", "cuda"}), "onnx": frozenset({"cpu"}), "fake": frozenset({"cpu"})}
WITHOUT = {"llama": frozenset({"cpu"}), "fake": frozenset({"cpu"})}


def chooser(home: Path, reach: dict[str, frozenset[str]], *models: ModelSpec) -> tuple[Registry, Chooser]:
    registry = Registry(ModelsFile(models=models))
    return registry, Chooser(registry, Store(home), Facts(reach, {}, 10**12, {}, "this device"))


def variants(found: Chooser, name: str) -> set[str]:
    return {choice.variant.name for choice in found.ranking(name)[1] if choice.usable}


def test_a_name_and_its_place_come_apart() -> None:
    assert placed("phi-4-mini-cuda-gpu") == ("phi-4-mini", next(p for p in PLACES if p.suffix == "cuda-gpu"))
    assert placed("phi-4-mini") is None
    assert placed("-generic-cpu") is None
    assert [place_of(device).suffix for device in ("cpu", "cuda", "vulkan", "qnn")] == [
        "generic-cpu",
        "cuda-gpu",
        "generic-gpu",
        "qnn-npu",
    ]
    assert place_id("smollm2", CPU) == "smollm2-generic-cpu:1"


def test_an_id_admits_what_runs_in_its_place(tmp_path: Path) -> None:
    _, found = chooser(tmp_path, WITH_CUDA, BOTH)
    assert variants(found, "both-cuda-gpu:1") == {"small"}
    assert "folder" in variants(found, "two-generic-cpu")
    assert "small" not in variants(found, "both-generic-cpu:1"), "it would run on the GPU"
    assert variants(found, "both") >= {"small", "folder"}
    with pytest.raises(ModelNotFound, match="does not run on a qnn-npu here"):
        found.ranking("both-qnn-npu:1")
    with pytest.raises(ModelNotFound, match="does not exist"):
        found.ranking("neither-generic-cpu:1")


def test_without_the_device_there_is_no_such_place(tmp_path: Path) -> None:
    _, found = chooser(tmp_path, WITHOUT, BOTH)
    assert variants(found, "both-generic-cpu:1") == {"small"}
    with pytest.raises(ModelNotFound, match="does not run on a cuda-gpu here"):
        found.ranking("both-cuda-gpu:1")


def test_a_models_own_name_comes_first(tmp_path: Path) -> None:
    registry, found = chooser(tmp_path, WITHOUT, FAKE, NAMED)
    assert registry.resolve("fake-generic-cpu")[0].name == "fake-generic-cpu"
    assert registry.resolve("fake-generic-cpu-generic-cpu:1")[0].name == "fake-generic-cpu"
    assert registry.place("fake-generic-cpu") is None
    assert variants(found, "fake-generic-cpu") == {"weightless"}


def test_the_list_has_the_best_devices_first(tmp_path: Path) -> None:
    """Clients take the first row that has the alias."""
    registry, found = chooser(tmp_path, WITH_CUDA, FAKE, BOTH)
    listed = entries(registry, found)
    assert [entry.id for entry in listed] == ["both-cuda-gpu:1", "fake-generic-cpu:1", "both-generic-cpu:1"]
    assert [entry.manifest is not None for entry in listed] == [False, True, False]
    assert listed[0].size == 7
    assert loaded([]) == []
