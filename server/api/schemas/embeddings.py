"""POST /v1/embeddings."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from .common import KeepAlive, Text

MOST_INPUTS = 2048
MOST_TOKENS = 2**31 - 1

ModelName = Annotated[Text, StringConstraints(min_length=1, max_length=512)]
TokenId = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


def limit_that_cuts(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and not (value == -1 or 1 <= value <= MOST_TOKENS):
        raise ValueError("must be a number of tokens, or -1 for as many as the model takes")
    return value


Limit = Annotated[int, BeforeValidator(limit_that_cuts)]


def _well_formed(value: Any) -> Any:
    """Say what is wrong with an input in words of its own: a union would complain once for each of its members."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError("must be a text, a list of texts, token ids or a list of token ids, and not empty")
    if all(_is_token(item) for item in value):
        return [value]
    if len(value) > MOST_INPUTS:
        raise ValueError(f"at most {MOST_INPUTS} inputs in one request, not {len(value)}")
    texts = all(isinstance(item, str) for item in value)
    if not texts and not all(isinstance(item, list) and all(_is_token(token) for token in item) for item in value):
        raise ValueError("must be texts only, or lists of token ids only")
    empty = next((place for place, item in enumerate(value) if not item), None)
    if empty is not None:
        raise ValueError(f"number {empty} is empty, and nothing has no embedding")
    return value


def _is_token(value: object) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    if not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{value} is no token id")
    return True


class EmbeddingsRequest(BaseModel):
    """Texts or token ids to make vectors of. Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        json_schema_extra={"examples": [{"model": "minilm", "input": ["A furnace.", "An oven."]}]},
    )

    model: ModelName
    input: Annotated[
        list[Text] | list[list[TokenId]],
        BeforeValidator(_well_formed, json_schema_input_type=Text | list[Text] | list[TokenId] | list[list[TokenId]]),
    ]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """The first so many numbers of each vector, scaled to length 1 again."""
    encoding_format: Literal["float", "base64"] | None = "float"
    truncate_prompt_tokens: Limit | None = None
    """Cut inputs to so many tokens, -1 to as many as the model takes; without it a longer one is refused."""
    user: str | None = None
    keep_alive: KeepAlive | None = None
    """Seconds after its last use at which the model is unloaded, or like "10m"; -1: never."""

    @property
    def inputs(self) -> list[str | list[int]]:
        return [*self.input]


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
