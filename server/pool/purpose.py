"""What a model is leased for. Pure."""

from typing import Literal

from ..errors import WrongModel
from ..models.spec import ModelSpec

Purpose = Literal["text", "vectors", "any"]


def require(purpose: Purpose, spec: ModelSpec, *, encodes: bool) -> None:
    """Raises WrongModel for a model that does not serve the purpose."""
    if purpose == "vectors" and not encodes:
        raise WrongModel(f"{spec.name} writes text and makes no embeddings; choose a model for those.", param="model")
    if purpose == "text" and encodes:
        raise WrongModel(f"{spec.name} makes embeddings and writes no text; use /v1/embeddings.", param="model")
