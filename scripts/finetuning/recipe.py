"""What a fine-tuning is told, checked before anything is loaded. The defaults are the operations guide's."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..recipe import Part, anchored, checked, mapping, merged, refuse_code

Method = Literal["full", "lora", "qlora", "bottleneck"]
LEARNING_RATES: dict[Method, float] = {"full": 2e-5, "lora": 1e-4, "qlora": 1e-4, "bottleneck": 1e-4}


class Lora(Part):
    """Low-rank adapters (Hu et al. 2021): W x + alpha / rank * B A x."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Bottleneck(Part):
    """Adapters after each block's MLP (Houlsby et al. 2019): h + up(gelu(down(h)))."""

    size: Annotated[int, Field(ge=1)] = 64


class Recipe(Part):
    """One fine-tuning. `base` and `data` are what `find_checkpoint` and `prepare-data` understand and write."""

    tool: ClassVar[str] = "finetune"
    """Its name in the record of what it makes."""
    base: str
    data: Path
    method: Method = "lora"
    epochs: Annotated[float, Field(gt=0)] = 3
    steps: Annotated[int | None, Field(ge=1)] = None
    """Of the optimiser; given, they count and the epochs do not."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Examples a step, over all processes."""
    micro_batch: Annotated[int | None, Field(ge=1)] = None
    """Examples in memory at once, a process; smaller than its share of `batch`, gradients are accumulated."""
    learning_rate: Annotated[float | None, Field(gt=0)] = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps in which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    longest_gradient: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the arithmetic; the weights that are trained stay in fp32. auto: bf16 where the device has it."""
    answers: Literal["last", "all"] = "last"
    """Which turns of the assistant are learned."""
    max_length: Annotated[int | None, Field(ge=8)] = None
    """Tokens of an example at most; default: the model's context. A longer example is an error."""
    packing: bool = False
    """Several examples in one row, blind to each other."""
    gradient_checkpointing: bool = False
    evaluate_every: Annotated[int | None, Field(ge=1)] = None
    """Steps between validations, and checkpoints; default: ten times in a run."""
    patience: Annotated[int | None, Field(ge=1)] = 3
    """Validations without a better loss after which it stops; null: it never does."""
    loss: str | None = None
    """package.module:name or file.py:name, a sum over (logits [positions, vocabulary], targets [positions])."""
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    lora: Lora = Lora()
    bottleneck: Bottleneck = Bottleneck()

    @property
    def rate(self) -> float:
        """The peak of the learning rate."""
        return self.learning_rate or LEARNING_RATES[self.method]

    @model_validator(mode="after")
    def _agrees(self) -> "Recipe":
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"batch {self.batch} is no multiple of micro_batch {self.micro_batch}")
        return self


def load(path: Path, changes: dict[str, Any] | None = None, *, allow_scripts: bool = False) -> Recipe:
    """The recipe of a YAML file, with changes by field. Raises InvalidValue."""
    recipe = checked(Recipe, merged(anchored(mapping(path), path, ("base",)), changes or {}), path)
    refuse_code(recipe.loss, path, allow_scripts=allow_scripts)
    return recipe
