"""What a distillation is told: a fine-tuning, and what the teacher adds to it."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..finetuning.recipe import Recipe
from ..recipe import Part, anchored, checked, mapping, merged

Divergence = Literal["forward", "reverse", "jensen-shannon"]


class Logits(Part):
    """The teacher's distribution over the next token (Hinton et al. 2015)."""

    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Softens both distributions; the loss is multiplied by its square, so that the gradient keeps its size."""
    divergence: Divergence = "forward"
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the loss; the rest is the surprise at the text itself."""
    cached: Annotated[int | None, Field(ge=1)] = None
    """The k likeliest of the teacher's logits, computed once and kept, in place of a teacher that runs along."""


class Layers(Part):
    """Hidden states, and attention, of pairs of blocks (Jiao et al. 2020)."""

    hidden: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared difference of the hidden states, each divided by its length."""
    attention: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the divergence of the attention distributions; both models have to have as many heads."""
    pairs: tuple[tuple[int, int], ...] = ()
    """(student's block, teacher's block); empty: the student's blocks spread evenly over the teacher's."""


class OnPolicy(Part):
    """Generalised knowledge distillation (Agarwal et al. 2024): the student learns on what it writes itself."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the steps, with text that the student writes."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the Jensen-Shannon divergence: 0 is forward, 1 reverse."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    new_tokens: Annotated[int, Field(ge=1)] = 64


class DistillRecipe(Recipe):
    """`base` is the student."""

    tool: ClassVar[str] = "distil"
    teacher: str
    logits: Logits = Logits()
    layers: Layers = Layers()
    on_policy: OnPolicy | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "DistillRecipe":
        if self.loss is not None:
            raise ValueError("loss is for finetune; a distillation has its own")
        if self.on_policy is not None and (given := self._unheard()):
            raise ValueError(f"on_policy goes without {' and '.join(given)}")
        if self.logits.cached is not None and (self.layers.hidden or self.layers.attention):
            raise ValueError("layers need the teacher itself, and logits.cached is in its place")
        return self

    def _unheard(self) -> list[str]:
        """What was given and means nothing to TRL's trainer, which has a loss and batches of its own."""
        logits = [name for name in sorted(self.logits.model_fields_set) if getattr(self.logits, name) is not None]
        others = {
            "layers.hidden": self.layers.hidden > 0,
            "layers.attention": self.layers.attention > 0,
            "packing": self.packing,
            "answers: all": self.answers == "all",
        }
        return [f"logits.{name}" for name in logits] + [name for name, given in others.items() if given]


def load(path: Path, changes: dict[str, Any] | None = None) -> DistillRecipe:
    """As the recipe of a fine-tuning. Raises InvalidValue."""
    return checked(DistillRecipe, merged(anchored(mapping(path), path, ("base", "teacher")), changes or {}), path)
