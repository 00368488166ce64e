"""What is asked of an evaluation, and what it finds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Order(BaseModel):
    """The first target is the one that the others are compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[str, ...] = Field(min_length=1)
    data: Path
    metrics: tuple[str, ...] = ("exact", "exact_spaces", "exact_json", "json_valid")
    max_tokens: int = Field(default=128, ge=1)
    concurrency: int = Field(default=4, ge=1)
    batch: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)
    resamples: int = Field(default=2000, ge=100)


class Figure(BaseModel):
    """A mean over `n` examples, with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Comparison(BaseModel):
    """A target against the first on one metric: the mean of the paired differences, and how sure it is."""

    target: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    test: str


class Evaluation(BaseModel):
    """Figures by target and metric; comparisons of each later target with the first."""

    targets: dict[str, dict[str, Figure]]
    comparisons: list[Comparison]
