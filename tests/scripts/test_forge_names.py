"""Names in a forge's recipe: what they mean may change, or be taken."""

from pathlib import Path

import pytest

from scripts.forge import outside
from scripts.forge.recipe import ForgeRecipe
from scripts.forge.register import refuse_taken, register
from server.errors import InvalidValue
from server.models.registry import Registry
from server.models.spec import Sampling
from server.settings import Settings


def test_a_name_that_means_another_model_is_refused() -> None:
    known = Registry.load()
    refuse_taken("commands", known)
    for name in ("smollm2", known.models[0].name):
        with pytest.raises(InvalidValue, match=f"'{name}' is .* already; choose another name"):
            refuse_taken(name, known)


def test_what_is_registered_is_served_as_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its base has: a sampling of its own, and a system message."""
    (tmp_path / "made").mkdir()
    artifact = tmp_path / "made" / "fake.json"
    artifact.write_text("{}")
    base = next(model for model in Registry.load().models if model.name == "fake")
    base = base.model_copy(update={"sampling": Sampling(temperature=0.7), "system": "Be kind."})
    monkeypatch.setattr("scripts.forge.register.describe", lambda *_: base.model_copy(update={"name": "mine-v1"}))
    entry = register("mine", {"weightless": artifact}, Settings(home=tmp_path))
    assert (entry.sampling, entry.system) == (Sampling(temperature=0), None)
    [written] = [model for model in Registry.load(tmp_path / "models.yaml").models if model.name == "mine-v1"]
    assert (written.sampling, written.system) == (Sampling(temperature=0), None)


def test_a_teacher_by_its_name_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name moves on to the next version of a model."""
    monkeypatch.setattr(outside, "find_checkpoint", lambda name, _: tmp_path / name)
    artifact = {"to": "gguf", "precision": "q8_0"}
    told = {"name": "n", "base": "b", "data": {"folder": "d"}, "distil": {"teacher": "big"}, "artifacts": [artifact]}
    recipe = ForgeRecipe.model_validate(told)
    for name in ("big", "d", "base"):
        (tmp_path / name).mkdir()

    def found() -> dict[str, str]:
        return outside.digests(recipe, tmp_path / "in" / "recipe.yaml", tmp_path / "base", Settings())["distil"]

    (tmp_path / "in" / "d").mkdir(parents=True)
    before = found()
    (tmp_path / "big" / "model.safetensors").write_bytes(b"another")
    assert found() != before
