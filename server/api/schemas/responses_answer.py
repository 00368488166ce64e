"""The Responses API: what is answered."""

from typing import Any, Literal

from pydantic import BaseModel

from ...errors import CupolaError, QueueFull, RequestError
from ...types import Usage
from .responses_items import KeptItem, OutputItem

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseErrorBody(BaseModel):
    """Why a response failed. OpenAI knows few codes, none of them for a model that runs here."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str

    @classmethod
    def of(cls, error: CupolaError) -> "ResponseErrorBody":
        if isinstance(error, QueueFull):
            return cls(code="rate_limit_exceeded", message=error.message)
        return cls(code="invalid_prompt" if isinstance(error, RequestError) else "server_error", message=error.message)


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int = 0
    """Tokens written to a cache that is paid for; there is none."""


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage, reasoning_tokens: int) -> "ResponseUsage":
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning_tokens),
            total_tokens=usage.total_tokens,
        )


class ReasoningEcho(BaseModel):
    effort: str | None
    summary: None = None


class ResponseBody(BaseModel):
    """A response, at any moment of its life. What the request said is repeated, with defaults filled in."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    background: bool
    error: ResponseErrorBody | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ReasoningEcho
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None


class ItemList(BaseModel):
    """A page of the items that a response was made from."""

    object: Literal["list"] = "list"
    data: list[KeptItem]
    first_id: str
    last_id: str
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class TokenCount(BaseModel):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
