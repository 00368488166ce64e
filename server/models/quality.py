"""How close an artifact is to what it was made from. Measured by `converters.quality`, stored in manifests, shown."""

from pydantic import BaseModel, ConfigDict, Field


class Quality(BaseModel):
    """Over the next-token distributions at `positions` places of one text."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Cupola may have written more

    kl_mean: float = Field(ge=0)  # KL(reference || artifact), in nats
    kl_p99: float = Field(ge=0)  # its 99th percentile
    top1: float = Field(ge=0, le=1)  # share of positions at which both have the same most likely token
    positions: int = Field(ge=1)
    reference: str  # what it was compared with, in words
