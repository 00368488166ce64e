"""What `cupola tune` measured on this device, kept in `$CUPOLA_HOME/tuning/<device>/<model>.json`.

A measurement holds for one artifact, by its digest, on one engine, on the device it was taken on.
"""

from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .files import private_folder, storage_errors, write_atomically
from .names import Name
from .quality import Quality
from .spec import Sha256

PROMPT, ANSWER = 256, 128  # tokens of the request by which speeds are compared
ONE, SOME, MANY = 1, 4, 8  # sequences at once
Speed = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Measurement(BaseModel):
    """One artifact on one engine, with the thread setting that was fastest. Speeds are tokens per second.

    `decode` is by number of sequences. `memory` is what the process held at its most, in bytes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Cupola may have written more

    variant: Name
    backend: Name
    digest: Sha256
    threads: Annotated[int, Field(ge=1, le=1024)]
    spin: bool
    prefill: Speed
    decode: dict[int, Speed]
    load_seconds: float
    memory: int
    quality: Quality | None = None
    """Against the best source; None where no source is here to compare with."""

    @field_validator("decode")
    @classmethod
    def _has_all(cls, decode: dict[int, float]) -> dict[int, float]:
        if not decode.keys() >= {ONE, SOME, MANY}:
            raise ValueError(f"speeds for {ONE}, {SOME} and {MANY} sequences are needed")
        return decode

    @property
    def seconds(self) -> float:
        """Time for one request alone and then for eight at once, each 256 tokens of prompt and 128 of answer."""
        prompts = (ONE + MANY) * PROMPT / self.prefill
        return prompts + ANSWER / self.decode[ONE] + MANY * ANSWER / self.decode[MANY]

    @property
    def divergence(self) -> float | None:
        return self.quality.kl_mean if self.quality else None


class Tuning(BaseModel):
    """The result for one model. An artifact beyond `limit` is not chosen."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Name
    device: str
    created: datetime
    max_kl: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    measurements: tuple[Measurement, ...]

    @property
    def limit(self) -> float:
        """`max_kl`, or what the closest artifact has: an engine's own rounding is no reason to serve nothing."""
        known = [one.divergence for one in self.measurements if one.divergence is not None]
        return max(self.max_kl, min(known, default=0.0))

    def of(self, digest: str, backend: str) -> Measurement | None:
        """What was measured of an artifact on an engine."""
        return next((m for m in self.measurements if (m.digest, m.backend) == (digest, backend)), None)


def read_tuning(home: Path, device: str, model: str) -> Tuning | None:
    """The result for a model on this device; one that cannot be read counts as none."""
    try:
        return Tuning.model_validate_json(_path(home, device, model).read_bytes())
    except (OSError, ValidationError):
        return None


def write_tuning(home: Path, tuning: Tuning) -> Path:
    """Keep a result; it replaces an earlier one for this model and device."""
    path = _path(home, tuning.device, tuning.model)
    with storage_errors(home):
        private_folder(path.parent)
        write_atomically(path, tuning.model_dump_json(indent=1))
    return path


def _path(home: Path, device: str, model: str) -> Path:
    return home / "tuning" / sha256(device.encode()).hexdigest()[:16] / f"{model}.json"
