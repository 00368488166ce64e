"""What a report says, as data: the JSON of `cupola quality --json`."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from server.models.quality import Quality

PROMPTS = (64, 512, 2048)  # tokens of the prompts whose speed is measured
SEQUENCES = (1, 8)  # decoded at once


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class TaskScore(_Figures):
    """A metric of an lm-eval task over `count` items; `stderr` None where it is not estimated."""

    task: str
    metric: str
    value: float
    stderr: float | None
    count: int


class Row(_Figures):
    """One artifact. Bytes, seconds, and tokens per second by length of the prompt and by number of sequences."""

    artifact: str
    engine: str
    device: str
    size: int
    perplexity: float
    quality: Quality | None  # None where it cannot be compared; a note says why
    memory: int
    load_seconds: float
    prefill: dict[int, float]  # without those that are longer than the context
    decode: dict[int, float]
    notes: tuple[str, ...] = ()
    tasks: tuple[TaskScore, ...] = ()


class Failed(_Figures):
    """An artifact that could not be measured, and why."""

    artifact: str
    reason: str


class Report(_Figures):
    """Artifacts in the order they were named."""

    created: datetime
    machine: str
    threads: int
    reference: str  # in words
    reference_perplexity: float
    text: str
    text_sha256: str
    positions: int
    rows: tuple[Row, ...]
    failed: tuple[Failed, ...] = ()
