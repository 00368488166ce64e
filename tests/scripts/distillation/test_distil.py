"""A student that learns from its teacher's distributions, in every way there is."""

import math
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from converters.pruning.prune import Plan, prune
from converters.quality import prose
from scripts import examples
from scripts.distillation.distil import distil
from scripts.distillation.divergence import divergence
from scripts.distillation.objective import spread
from scripts.distillation.recipe import DistillRecipe
from scripts.examples import Example
from scripts.finetuning.encoding import load_tokenizer
from scripts.finetuning.model import load_model
from scripts.finetuning.train import train
from server.errors import InvalidValue
from server.models.lineage import read_record
from server.settings import Settings
from tests.scripts.conftest import write_small
from tests.scripts.finetuning.test_train import QUICK, TWO, Told, losses, recipe, start

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
WAYS: dict[str, dict[str, Any]] = {
    "forward": {"logits": {"share": 1}},
    "reverse": {"logits": {"share": 0.7, "divergence": "reverse"}},
    "jensen-shannon": {"logits": {"share": 0.7, "divergence": "jensen-shannon"}},
    "cached": {"logits": {"share": 0.7, "cached": 64}},
    "layers": {"layers": {"hidden": 1.0, "attention": 1.0}},
}


@pytest.fixture(scope="module")
def teacher(small: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, trained at its task."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return train(recipe(small, data, method="full", learning_rate=5e-3, steps=120), folder, Settings(), Told()).model


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher without half of its blocks."""
    folder = tmp_path_factory.mktemp("student") / "pruned"
    prune(teacher, folder, Plan(blocks=2, tokens=200), prose(), "prose.txt")
    return folder


def told(student: Path, teacher: Path, data: Path, **fields: Any) -> DistillRecipe:
    more = {"base": str(student), "teacher": str(teacher), "data": data, "method": "full", "learning_rate": 2e-3}
    return DistillRecipe.model_validate(QUICK | {"steps": 20, "evaluate_every": 10} | more | fields)


def test_divergences_are_what_their_formulas_say() -> None:
    p, q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.2, 0.6]])

    def kl(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a * (a / b).log()).sum())

    middle = (p + q) / 2
    student, teacher = q.log() + 3, p.log() - 1  # a constant in the logits changes nothing
    assert float(divergence(student, teacher, "forward")) == pytest.approx(kl(p, q), abs=1e-6)
    assert float(divergence(student, teacher, "reverse")) == pytest.approx(kl(q, p), abs=1e-6)
    halves = (kl(p, middle) + kl(q, middle)) / 2
    assert float(divergence(student, teacher, "jensen-shannon")) == pytest.approx(halves, abs=1e-6)
    flat = float(divergence(student, teacher, "forward", temperature=50.0))
    assert 0 <= flat < 1e-3 < math.log(2)


def test_blocks_are_paired_from_the_end() -> None:
    assert spread(2, 4, ()) == [(0, 1), (1, 3)]
    assert spread(20, 30, ())[-1] == (19, 29)
    with pytest.raises(InvalidValue, match=r"\(0, 4\) is not there"):
        spread(2, 4, ((0, 4),))


@pytest.mark.parametrize("student", range(1, 13))
@pytest.mark.parametrize("teacher", range(1, 7))
def test_every_block_of_a_student_has_one_of_its_teacher(student: int, teacher: int) -> None:
    """Also of one that is deeper than its teacher: -1 would be the last."""
    pairs = spread(student, teacher, ())
    assert [mine for mine, _ in pairs] == list(range(student))
    theirs = [block for _, block in pairs]
    assert theirs == sorted(theirs)
    assert theirs[0] >= 0
    assert theirs[-1] == teacher - 1


@pytest.mark.parametrize("way", WAYS)
def test_every_way_brings_back_what_pruning_took(
    way: str, student: Path, teacher: Path, data: Path, tmp_path: Path
) -> None:
    made = distil(told(student, teacher, data, **WAYS[way]), tmp_path / "run", Settings(), Told())
    assert made.validation < made.validation_before / 2
    record = read_record(made.model)
    assert record is not None
    assert [step.tool for step in record.steps][-2:] == ["prune", "distil"]


def test_the_cached_teacher_says_what_the_teacher_says(
    student: Path, teacher: Path, data: Path, tmp_path: Path
) -> None:
    """All of the vocabulary cached is the teacher itself, but for half precision."""
    fields = {"steps": 3, "evaluate_every": 3}
    for name, logits in {"live": {}, "cached": {"cached": 49152}}.items():
        distil(told(student, teacher, data, logits=logits, **fields), tmp_path / name, Settings(), Told())
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "live"), rel=1e-2)


def test_on_its_own_words(student: Path, teacher: Path, data: Path, tmp_path: Path) -> None:
    """TRL's trainer; its loss is a divergence, and falls."""
    fields = {"on_policy": {"share": 0.5, "new_tokens": 4}, "steps": 8, "evaluate_every": 4, "batch": 8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's and transformers' own deprecations
        made = distil(told(student, teacher, data, **fields), tmp_path / "run", Settings(), Told())
    assert made.validation < made.validation_before
    assert (made.model / "model.safetensors").is_file()


def test_what_cannot_be_compared_is_refused(
    student: Path, teacher: Path, small: Path, data: Path, tmp_path: Path, tokenizer_folder: Path
) -> None:
    write_small(tokenizer_folder, tmp_path / "wide", hidden_size=96)
    wide = tmp_path / "wide"
    with pytest.raises(InvalidValue, match="student's states are 96 wide, the teacher's 64"):
        distil(told(wide, teacher, data, layers={"hidden": 1}), tmp_path / "a", Settings(), Told())
    tokens = (wide / "tokenizer.json").read_text()
    (wide / "tokenizer.json").write_text(tokens.replace("<empty_output>", "<another>"))
    with pytest.raises(InvalidValue, match="different vocabularies"):
        distil(told(wide, teacher, data), tmp_path / "b", Settings(), Told())
    for split in ("train", "validation"):
        examples.write(tmp_path / f"{split}.jsonl", [Example(text="All of it.")] * 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's
        with pytest.raises(InvalidValue, match="holds plain texts"):
            distil(told(student, teacher, tmp_path, on_policy={}), tmp_path / "c", Settings(), Told())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"layers": {"hidden": 1, "attention": 1}}, r"layers\.hidden and layers\.attention"),
        ({"logits": {"cached": 8}}, r"logits\.cached"),
        ({"logits": {"temperature": 2.0}}, r"logits\.temperature"),  # the default, but asked for
        ({"packing": True, "logits": {"share": 0.9}}, r"logits\.share and packing"),
        ({"answers": "all"}, "answers: all"),
    ],
)
def test_on_policy_refuses_what_it_does_not_do(fields: dict[str, Any], named: str) -> None:
    given = {"base": "b", "teacher": "t", "data": "d", "on_policy": {}}
    with pytest.raises(ValueError, match=f"on_policy goes without {named}"):
        DistillRecipe.model_validate(given | fields)
    done = {"packing": False, "answers": "last", "logits": {"cached": None}}
    assert DistillRecipe.model_validate(given | done).on_policy is not None


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's rendezvous here is of Unix")
def test_of_two_processes_one_asks_the_teacher(student: Path, teacher: Path, data: Path, tmp_path: Path) -> None:
    recipe = told(student, teacher, data, logits={"cached": 64}, steps=3, evaluate_every=3)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)))
    both = start(path, tmp_path / "two", *TWO, tool="distil")
    distil(recipe, tmp_path / "one", Settings(), Told())
    assert both.wait() == 0
    assert len(losses(tmp_path / "one")) == 3
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-3)


def test_a_teacher_is_where_its_process_computes(
    student: Path, teacher: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student is moved there by its trainer, which is made later."""
    device = torch.device("meta")
    one = SimpleNamespace(device=device, main_process_first=nullcontext)
    monkeypatch.setattr("scripts.distillation.distil.processes", lambda: one)
    made: list[Any] = []
    ready = SimpleNamespace(model=load_model(student), tokenizer=load_tokenizer(student))
    monkeypatch.setattr("scripts.distillation.distil.run", lambda *given: made.append(given[-1](ready)))
    distil(told(student, teacher, data), tmp_path / "run", Settings(), Told())
    assert made[0]._teacher.device == device
