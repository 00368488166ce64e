"""GET /v1/models, and what the pool holds."""

from typing import Literal

from pydantic import BaseModel

from ...models.spec import ModelSpec


class Capabilities(BaseModel):
    """What a model can be asked for. Constrained answers and log-probabilities are the engine's work, so every model
    that writes text has them."""

    chat: bool
    completion: bool
    tools: bool
    reasoning: bool
    json_schema: bool
    logprobs: bool
    embeddings: bool
    rerank: bool
    vision: bool

    @classmethod
    def of(cls, spec: ModelSpec) -> "Capabilities":
        writes = not spec.encodes
        return cls(
            chat=writes and "chat" in spec.tasks,
            completion=writes,
            tools="tools" in spec.tasks,
            reasoning="reasoning" in spec.tasks,
            json_schema=writes,
            logprobs=writes,
            embeddings="embeddings" in spec.tasks,
            rerank="rerank" in spec.tasks,
            vision=False,  # no engine here reads images
        )


class ModelBody(BaseModel):
    """A pulled model, or one with an adapter. Beyond OpenAI's fields: what runs it and how.

    `root` is the model whose weights answer; `parent` the same of an adapter, as vLLM has it, and null of a model.
    """

    id: str
    root: str
    parent: str | None = None
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    aliases: list[str]
    variant: str
    engine: str
    quantization: str
    context_length: int
    capabilities: Capabilities
    loaded: bool


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelBody]
