"""POST /v1/chat/completions: the answer, whole and in chunks."""

from typing import Any, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from ...types import Likely, TokenLogprob
from ..conversation import Call, Finish
from .common import Timings, UsageBody


class LikelyBody(BaseModel):
    """A token as text (a part of a character reads as U+FFFD), its log-probability, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, likely: Likely) -> "LikelyBody":
        return cls(token=likely.text.decode("utf-8", "replace"), logprob=likely.logprob, bytes=list(likely.text))


class TokenBody(LikelyBody):
    top_logprobs: list[LikelyBody]

    @classmethod
    def of_scored(cls, scored: TokenLogprob) -> "TokenBody":
        assert scored.logprob is not None, "only the first token of a prompt has none"
        return cls(
            token=scored.text.decode("utf-8", "replace"),
            logprob=scored.logprob,
            bytes=list(scored.text),
            top_logprobs=[LikelyBody.of(likely) for likely in scored.top],
        )


class LogprobsBody(BaseModel):
    content: list[TokenBody]
    refusal: None = None

    @classmethod
    def of(cls, scored: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> "LogprobsBody":
        return cls(content=[TokenBody.of_scored(one) for one in scored], refusal=None)


class FunctionBody(BaseModel):
    name: str
    arguments: str


class CallBody(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionBody

    @classmethod
    def of(cls, call: Call) -> "CallBody":
        return cls(id=call.id, function=FunctionBody(name=call.name, arguments=call.arguments))


class AssistantMessage(BaseModel):
    """`reasoning_content` and `tool_calls` are there only where the model thought or called."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[CallBody] | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        for name in ("reasoning_content", "tool_calls"):
            if written.get(name) is None:
                written.pop(name, None)
        return written


class ChatChoice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: LogprobsBody | None = None
    finish_reason: Finish


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageBody
    timings: Timings


class FunctionDelta(BaseModel):
    name: str | None = None
    arguments: str | None = None


class CallDelta(BaseModel):
    """The beginning of a call, with id and name, or more of its arguments."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatDelta(BaseModel):
    """What a chunk adds. Absent fields are not sent."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChatChunkChoice(BaseModel):
    index: int
    delta: ChatDelta
    logprobs: LogprobsBody | None = None
    finish_reason: Finish | None = None


class ChatChunk(BaseModel):
    """One event of a stream. The usage chunk, sent when asked for, has no choices."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: UsageBody | None = None
    timings: Timings | None = None
