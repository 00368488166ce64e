"""Requests of Ollama's API about models, and for embeddings."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..schemas.common import KeepAlive, Text
from .schemas import ModelName

MOST_INPUTS = 2048


class NamedModel(BaseModel):
    """A request about a model. Old clients say `name`."""

    model_config = ConfigDict(strict=True)

    model: ModelName | None = None
    name: ModelName | None = None
    stream: bool | None = True

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.model is None and self.name is None:
            raise ValueError("model: a name is needed")
        return self

    @property
    def asked(self) -> str:
        return self.model or self.name or ""


class EmbedRequest(BaseModel):
    """Texts to make vectors of. `truncate` is true unless said otherwise, as at Ollama: a text that is too long is cut
    at its end."""

    model_config = ConfigDict(strict=True)

    model: ModelName
    input: Text | Annotated[list[Text], Field(max_length=MOST_INPUTS)]
    truncate: bool | None = True
    dimensions: Annotated[int, Field(ge=1)] | None = None
    options: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.input] * bool(self.input) if isinstance(self.input, str) else self.input


class EmbeddingsRequest(BaseModel):
    """The older form: one text, one vector."""

    model_config = ConfigDict(strict=True)

    model: ModelName
    prompt: Text
    options: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None
