"""What an evaluation finds: `evaluation.json`, field by field."""

from pydantic import BaseModel, ConfigDict, Field

from .order import Kind


class Figure(BaseModel):
    """A value over `n` examples with its bootstrap 95 % interval; None where no interval can be had."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(description="examples behind it")


class ClassFigures(BaseModel):
    """How well one class is found."""

    model_config = ConfigDict(frozen=True)

    precision: float
    recall: float
    f1: float
    n: int = Field(description="examples that have the class")


class Target(BaseModel):
    """One target's figures."""

    model_config = ConfigDict(frozen=True)

    target: str = Field(description="as it was named")
    kind: Kind
    metrics: dict[str, Figure] = Field(
        description="by name: those asked for, and of time latency_seconds, latency_p50_seconds, latency_p95_seconds,"
        " first_token_seconds, tokens_per_second"
    )
    classes: dict[str, ClassFigures] = Field({}, description="by class, where accuracy, precision, recall or f1 is")
    memory_bytes: int | None = Field(None, description="peak of the resident memory of its processes")
    size_bytes: int | None = Field(None, description="of its files on the disk; an adapter's are with its base's")
    cut: int = Field(0, description="answers that max_tokens ended")
    not_measured: dict[str, str] = Field({}, description="what was asked for and not measured, and why")


class Comparison(BaseModel):
    """A target against the first on one metric, paired by example."""

    model_config = ConfigDict(frozen=True)

    target: str
    metric: str
    difference: float = Field(description="the target's value minus the first's")
    low: float
    high: float
    p_value: float
    test: str = Field(description="exact McNemar, or paired bootstrap")
    ratio: float | None = Field(None, description="the target's value as a share of the first's; None where that is 0")
    ratio_low: float | None = None
    ratio_high: float | None = None


class Evaluation(BaseModel):
    """The first of `targets` is what the others are compared with."""

    model_config = ConfigDict(frozen=True)

    data: str
    data_sha256: str
    examples: int
    order: dict[str, object] = Field(description="what was asked, as Order has it")
    targets: list[Target]
    comparisons: list[Comparison]
    seconds: float = Field(description="of the whole evaluation")
