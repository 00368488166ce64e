"""POST /v1/chat/completions."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...types import FinishReason
from .common import GenerationRequest, Text, UsageBody

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(BaseModel):
    """A text part of a message. Parts of other types cannot be read by a text model."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Role
    content: Text | list[TextPart] | None = None
    name: Text | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _has_content(self) -> "ChatMessage":
        if self.tool_calls or self.tool_call_id:
            raise ValueError("tool_calls: this server cannot honour tools yet; leave them out")
        if self.content is None:
            raise ValueError(f"content: a {self.role} message needs text")
        return self

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates read it: role and text. Text parts stand on lines of their own."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content or ())
        # Templates were written before OpenAI renamed the system role.
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": text} | ({"name": self.name} if self.name else {})


class ChatRequest(GenerationRequest):
    """A conversation to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "smollm2", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
            ]
        }
    )

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "n": (1,),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "response_format": ({"type": "text"},),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class AssistantMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageBody


class ChatDelta(BaseModel):
    """What a chunk adds. Absent fields are not sent."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(BaseModel):
    index: int
    delta: ChatDelta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """One event of a stream. The usage chunk, sent when asked for, has no choices."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: UsageBody | None = None
