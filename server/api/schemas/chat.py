"""POST /v1/chat/completions: the request."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ...chat.tools.base import Tool, ToolChoice
from ..conversation import Conversation
from .common import GenerationRequest, Text
from .guided import GuidedFields
from .tools import Functions, ToolCallBody, ToolChoiceBody, ToolDefinition

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
TEXTS = {"text", "input_text", "output_text", "refusal"}
MOST_CHOICES = 128
MOST_LIKELY = 20


class TextPart(BaseModel):
    """A text part of a message."""

    model_config = ConfigDict(strict=True)

    type: str
    text: Text | None = None
    refusal: Text | None = None

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        if self.type not in TEXTS:
            raise ValueError(f"this model reads text only; leave out parts of type {self.type[:40]!a}")
        if self.text is None and self.refusal is None:
            raise ValueError("text: a text part needs text")
        return self


class ChatMessage(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Role
    content: Text | list[TextPart] | None = None
    name: Text | None = None
    tool_calls: Annotated[list[ToolCallBody], Field(max_length=128)] | None = None
    tool_call_id: Text | None = None
    reasoning_content: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls: a {self.role} message cannot call tools")
        if self.content is None and not self.tool_calls:
            raise ValueError(f"content: a {self.role} message needs text")
        return self

    def for_template(self) -> dict[str, Any]:
        """The message in OpenAI's shape, with text parts joined by line ends. Absent fields are absent."""
        parts = self.content if isinstance(self.content, list) else ()
        text = "\n".join(part.text or part.refusal or "" for part in parts) if parts else self.content or ""
        message: dict[str, Any] = {"role": self.role, "content": text}
        for name in ("name", "tool_call_id", "reasoning_content"):
            if value := getattr(self, name):
                message[name] = value
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message


class ChatRequest(GuidedFields, GenerationRequest):
    """A conversation to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "smollm2", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
            ]
        }
    )

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "functions": ([],),
        "function_call": ("none", "auto"),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELY)] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and info.data.get("max_tokens") not in (None, limit):
            raise ValueError("max_tokens says another number; send one of them")
        return limit

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: it needs logprobs: true")
        self._functions.check()
        return self

    @property
    def _functions(self) -> Functions:
        return Functions(self.tools or [], self.tool_choice, self.parallel_tool_calls)

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def choices(self) -> int:
        """How many continuations are asked for."""
        return self.n or 1

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that may be called."""
        return self._functions.offered

    @property
    def tool_policy(self) -> ToolChoice:
        """What the answer may or must call."""
        return self._functions.policy

    def conversation(self) -> Conversation:
        """The request in the words of no API."""
        return Conversation(
            model=self.model,
            messages=[message.for_template() for message in self.messages],
            sampling=self.sampling,
            tools=self.offered,
            choice=self.tool_policy,
            grammar=self.grammar(),
            n=self.choices,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            cache_prompt=self.cache_prompt,
            variables=self.chat_template_kwargs or {},
            reasoning_effort=self.reasoning_effort,
            limit_field="max_tokens" if self.max_completion_tokens is None else "max_completion_tokens",
        )
