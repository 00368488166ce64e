"""What a search is told: a fine-tuning, and which of its fields take which values."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from server.errors import InvalidValue

from ..finetuning.recipe import Recipe
from ..recipe import Part, anchored, checked, mapping, merged, refuse_code

Value = float | int | str | bool | None
Choices = Annotated[tuple[Value, ...], Field(min_length=1)]


class Range(Part):
    """Numbers between two ends; `log` where it is their size that counts."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range begins above 0")
        return self


class SearchRecipe(Part):
    """`finetune` holds the fields of a recipe, `space` those that vary: a range, or a list of choices."""

    finetune: dict[str, Any]
    space: Annotated[dict[str, Range | Choices], Field(min_length=1)]
    trials: Annotated[int, Field(ge=1)] = 20
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True
    """Stop a trial whose validation loss is worse than the median of those before at the same step."""
    warmup_trials: Annotated[int, Field(ge=0)] = 4
    """That run to their end before any is pruned."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0


class Searched(Recipe):
    """What the trials of a study share, and what they try; the fields of the space have their first values.

    With another of any of it, losses could not be compared.
    """

    tool: ClassVar[str] = "search"
    space: dict[str, Range | tuple[Value, ...]]


def load(path: Path, changes: dict[str, Any] | None = None, *, allow_scripts: bool = False) -> SearchRecipe:
    """Checked with every choice and both ends of every field of the space, too. Raises InvalidValue."""
    fields = mapping(path)
    if isinstance(fields.get("finetune"), dict):
        fields["finetune"] = anchored(fields["finetune"], path, ("base",))
    recipe = checked(SearchRecipe, merged(fields, {"finetune": changes} if changes else {}), path)
    first = {name: edge(values, 0) for name, values in recipe.space.items()}
    for name, values in recipe.space.items():
        for value in (edge(values, 0), edge(values, -1)) if isinstance(values, Range) else values:
            found = tuned(recipe, first | {name: value}, path)
            refuse_code(found.loss, path, allow_scripts=allow_scripts)
    if "loss" in recipe.space:
        refuse_code("loss", path, allow_scripts=allow_scripts)
    return recipe


def edge(values: Range | tuple[Value, ...], which: int) -> Value:
    """The first or the last value."""
    if not isinstance(values, Range):
        return values[which]
    end = (values.low, values.high)[which]
    return int(end) if values.whole else end


def tuned(recipe: SearchRecipe, values: dict[str, Value], path: Path) -> Recipe:
    """The fine-tuning of one trial. Raises InvalidValue."""
    return checked(Recipe, merged(recipe.finetune, nested(values)), path)


def searched(recipe: SearchRecipe, path: Path) -> Searched:
    """Raises InvalidValue."""
    first = nested({name: edge(values, 0) for name, values in recipe.space.items()})
    return checked(Searched, merged(recipe.finetune, first) | {"space": recipe.space}, path)


def nested(values: dict[str, Value]) -> dict[str, Any]:
    """{"lora.rank": 8} as {"lora": {"rank": 8}}. Raises InvalidValue."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        place = fields
        *outer, last = name.split(".")
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InvalidValue(f"space: {name} is a part of {part}, which varies itself.")
        place[last] = value
    return fields
