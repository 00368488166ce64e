"""What a fine-tuning is told, checked before anything is loaded. The defaults are the operations guide's."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converters import plain_yaml
from server.errors import InvalidValue

Method = Literal["full", "lora", "qlora", "bottleneck"]
LEARNING_RATES: dict[Method, float] = {"full": 2e-5, "lora": 1e-4, "qlora": 1e-4, "bottleneck": 1e-4}
Kind = TypeVar("Kind", bound=BaseModel)
LARGEST = 1 << 20  # bytes of a recipe


class Part(BaseModel):
    """A section of a recipe: an unknown field is a mistake, and said."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    seed: Annotated[int, Field(ge=0)] = 0
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


def refuse_code(loss: str | None, path: Path, *, allow_scripts: bool) -> None:
    """Raises InvalidValue for a recipe that names a function to run, unless that is allowed."""
    if loss is not None and not allow_scripts:
        raise InvalidValue(
            f"{path} names a loss of its own, and using one runs its code. Allow it with --allow-scripts if you trust"
            " the recipe."
        )


def anchored(fields: dict[str, Any], path: Path, models: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's own fields with its paths from its folder: `data` always, a model where there is such a path."""
    made = dict(fields)
    for name in ("data", *models):
        given = made.get(name)
        if isinstance(given, str) and (name == "data" or (path.parent / given).exists()):
            made[name] = str((path.parent / Path(given).expanduser()).resolve())
    return made


def merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Fields with others in their place; a section keeps what is not changed in it."""
    made = dict(fields)
    for name, value in changes.items():
        inner = made.get(name)
        made[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return made


def mapping(path: Path) -> dict[str, Any]:
    """A YAML file with fields. Raises InvalidValue."""
    try:
        if not path.is_file():
            raise InvalidValue(f"There is no file {path}.")
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} is larger than a recipe ever is.")
        content = plain_yaml.parse(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is no text in UTF-8.") from None
    except plain_yaml.NotPlain as error:
        raise InvalidValue(f"{path} {error}.") from None
    if not isinstance(content, dict):
        raise InvalidValue(f"{path} holds no fields.")
    return content


def checked(kind: type[Kind], fields: dict[str, Any], path: Path, section: str = "") -> Kind:
    """Raises InvalidValue that names each field which is wrong, with the section that it stands in."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        within = (section,) if section else ()
        found = [
            f"{'.'.join(map(str, (*within, *item['loc']))) or 'the recipe'}: {item['msg']}" for item in error.errors()
        ]
        raise InvalidValue(f"{path}: {'; '.join(found)}.") from None
