"""What a forge is told: a section for each stage, each as the tool of that stage takes it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from server.errors import InvalidValue
from server.models.chain import Wish, stages

from ..finetuning.recipe import Recipe
from ..recipe import Kind, Part, checked, mapping, merged, refuse_code

Section = dict[str, Any]


class Pruning(Part):
    """What the base loses before it learns: see docs/pruning.md. Distil it from the whole base afterwards."""

    blocks: Annotated[int, Field(ge=1)] | None = None
    """How many to keep."""
    importance: Literal["angular", "perplexity"] = "angular"
    grouping: Literal["contiguous", "single"] = "contiguous"
    width: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the MLPs' channels to keep."""
    tokens: Annotated[int, Field(ge=64)] = 1024
    """Of the bundled text, to decide on."""

    @model_validator(mode="after")
    def _leaves_out(self) -> "Pruning":
        if self.blocks is None and self.width is None:
            raise ValueError("say what to keep: blocks, width, or both")
        return self


class Artifact(Part):
    """What the trained checkpoint is converted to, and what that may cost."""

    to: Literal["onnx", "gguf"]
    precision: str
    imatrix: bool = False
    """Round by the importance of weights on the bundled calibration text; for GGUF."""
    loss: Annotated[float, Field(ge=0)] = 0.01
    """How far below the checkpoint's figure its own may be."""
    required: bool = True
    """Whether nothing is registered where it fails; else it alone is left out."""

    @property
    def name(self) -> str:
        """Of the variant: gguf-q8_0."""
        return f"{self.to}-{self.precision}"

    @model_validator(mode="after")
    def _converts(self) -> "Artifact":
        stages("huggingface", Wish(self.to, self.precision, imatrix="auto" if self.imatrix else None))
        return self


class Gate(Part):
    """What has to be reached. The figure is the evaluation's: exact, exact_json, rougeL, accuracy ..."""

    metric: str = "exact"
    least: float = 0.0
    """Of the trained checkpoint, on the test examples."""
    gain: Annotated[float, Field(ge=0)] = 0.0
    """Over the base, at least."""


class ForgeRecipe(Part):
    """One line. `data` without sources is a folder that is ready: {folder: ./data}."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,80}$")]
    """Versions are called NAME-v1, NAME-v2 ...; NAME is always the newest."""
    base: str
    teach: Section | None = None
    data: Section
    prune: Pruning | None = None
    distil: Section | None = None
    finetune: Section | None = None
    evaluate: Section = Field(default_factory=dict)
    artifacts: Annotated[tuple[Artifact, ...], Field(min_length=1)]
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _trains(self) -> "ForgeRecipe":
        if self.finetune is None and self.distil is None:
            raise ValueError("there has to be a finetune or a distil section, or both")
        for name, section in {"finetune": self.finetune, "distil": self.distil}.items():
            given = {"base", "data"} & (section or {}).keys()
            if given:
                raise ValueError(f"{name} has a {min(given)} of its own; the line puts in what comes before")
        if self.teach is not None and "folder" in self.data:
            raise ValueError("data.folder is ready, so that nobody would read what teach brings; leave one of them out")
        if len({artifact.name for artifact in self.artifacts}) < len(self.artifacts):
            raise ValueError("an artifact is named twice")
        return self


def load(path: Path, changes: dict[str, Any] | None = None, *, allow_scripts: bool = False) -> ForgeRecipe:
    """Checked, with every section, before anything runs. Raises InvalidValue."""
    recipe = checked(ForgeRecipe, merged(mapping(path), changes or {}), path)
    refuse_code((recipe.finetune or {}).get("loss"), path, allow_scripts=allow_scripts)
    check(recipe, path)
    return recipe


def check(recipe: ForgeRecipe, path: Path) -> None:
    """Each section as its own tool checks it, with what the line puts in. Raises InvalidValue."""
    from ..data.order import Order as DataOrder
    from ..distillation.recipe import DistillRecipe
    from ..evaluation.order import Order as EvaluationOrder
    from ..teaching.order import Order as TeachingOrder

    here = path.parent
    if recipe.teach is not None:
        _section(TeachingOrder, "teach", recipe.teach, path)
    if "folder" not in recipe.data:
        given = {"sources": [here]} if recipe.teach is not None else {}
        _section(DataOrder, "data", {"tokenizer": ".", **given, **recipe.data}, path)
    elif len(recipe.data) > 1:
        raise InvalidValue(f"{path}: data.folder is ready as it is; {_others(recipe.data)} would do nothing.")
    trained = {"base": ".", "data": here}
    if recipe.distil is not None:
        _refuse_bottleneck(_section(DistillRecipe, "distil", recipe.distil | trained, path), "distil", path)
    if recipe.finetune is not None:
        _refuse_bottleneck(_section(Recipe, "finetune", recipe.finetune | trained, path), "finetune", path)
    told = _section(EvaluationOrder, "evaluate", recipe.evaluate | {"targets": ["."], "data": here, "out": here}, path)
    _check_metrics(recipe.gate.metric, told.metrics, path, schema=told.schema_file is not None)


def _section(kind: type[Kind], name: str, fields: Section, path: Path) -> Kind:
    return checked(kind, fields, path, name)


def _others(section: Section) -> str:
    return ", ".join(f"data.{name}" for name in section if name != "folder")


def _refuse_bottleneck(recipe: Recipe, name: str, path: Path) -> None:
    if recipe.method == "bottleneck":
        raise InvalidValue(
            f"{path}: {name}.method: bottleneck adapters can be neither merged nor converted; choose full, lora or"
            " qlora."
        )


def _check_metrics(gate: str, asked: tuple[str, ...], path: Path, *, schema: bool) -> None:
    from ..evaluation import metrics

    metrics.check(asked, schema=schema)
    if gate not in asked:
        raise InvalidValue(f"{path}: gate.metric: {gate} is not among evaluate.metrics ({', '.join(asked)}).")
    if gate == "perplexity":
        raise InvalidValue(f"{path}: gate.metric: a gate asks for a least figure, and perplexity is better when lower.")
