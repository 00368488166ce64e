"""Changes to a recipe from the command line."""

import pytest

from scripts.recipe import assigned
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
