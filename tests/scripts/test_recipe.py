"""Changes to a recipe from the command line."""

from pathlib import Path

import pytest

from scripts.finetuning import recipe as finetuning
from scripts.recipe import assigned
from scripts.searching import recipe as searching
from server.errors import InvalidValue


def test_fields_of_sections_are_named_with_dots() -> None:
    changes = ["steps=50", "lora.rank=4", "lora.alpha=8.5", "base=", "space.learning_rate=[1.0e-4, 1.0e-3]"]
    assert assigned(changes, {"batch": 8, "seed": None}) == {
        "batch": 8,
        "steps": 50,
        "lora": {"rank": 4, "alpha": 8.5},
        "base": None,
        "space": {"learning_rate": [1e-4, 1e-3]},
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["steps"], "takes FIELD=VALUE, and 'steps' has no '='"),
        (["lora=1", "lora.rank=4"], "--set lora.rank: lora has a value already"),
        (["base=*x"], "--set base: the value"),
    ],
)
def test_what_is_no_change_is_said(changes: list[str], complaint: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        assigned(changes, {})
    assert complaint in raised.value.message


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ("epochs: .inf", "epochs: Input should be a finite number"),
        ("lora: {alpha: .inf}", "lora.alpha: Input should be a finite number"),
        ("seed: 4294967296", "seed: Input should be less than"),
        ("data: ~nobody-here/x", "data: '~nobody-here/x' cannot be a path"),
        ('data: "a\\0b"', "cannot be a path"),
        (f"base: {'x' * 5000}", "base: 'xxxx"),
    ],
)
def test_fields_that_nothing_can_be_done_with_are_said(tmp_path: Path, fields: str, complaint: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"base: b\ndata: d\n{fields}")
    with pytest.raises(InvalidValue) as raised:
        finetuning.load(path)
    assert complaint in raised.value.message


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ("{learning_rate: []}", "at least 1 item"),
        ("{lora: [5], lora.rank: [4]}", "lora.rank is a part of lora, which varies itself"),
        ("{lora.rank: [4, 0, 8]}", "lora.rank: Input should be greater than or equal to 1"),
        ("{learning_rate: {low: 0.1, high: .inf}}", "finite"),
    ],
)
def test_every_choice_of_a_search_is_checked_first(tmp_path: Path, space: str, complaint: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(f"finetune: {{base: b, data: d}}\nspace: {space}")
    with pytest.raises(InvalidValue) as raised:
        searching.load(path)
    assert complaint in raised.value.message
