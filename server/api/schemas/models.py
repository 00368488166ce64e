"""GET /v1/models, and what the pool holds."""

from typing import Literal

from pydantic import BaseModel


class ModelBody(BaseModel):
    """A pulled model. Beyond OpenAI's fields: what runs it and how."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    aliases: list[str]
    variant: str
    engine: str
    quantization: str
    context_length: int
    loaded: bool


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelBody]


class ResidentBody(BaseModel):
    """A model in the pool. Memory is the resident set of its worker, in bytes."""

    id: str
    state: str
    progress: float
    users: int
    pid: int | None
    memory: int | None
    idle_seconds: float


class ResidentList(BaseModel):
    models: list[ResidentBody]
