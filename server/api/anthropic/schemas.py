"""POST /v1/messages and /v1/messages/count_tokens: the requests."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ...errors import UnsupportedField
from ...models.spec import Sampling
from ...types import Grammar, SamplingParams
from ..conversation import Conversation
from ..schemas.common import MAX_STOPS, Probability, StopString, Text
from ..schemas.guided import grammar_of_schema
from .blocks import Message, Texts
from .intake import messages_of
from .tools import ChoiceBody, ToolBody, check, policy

_EFFORTS = {"max": "xhigh"}  # the rest have the names that OpenAI gave them


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class Thinking(_Body):
    """Whether the model shall think. `budget_tokens` is a wish, as it is at Anthropic; `omitted` thoughts are thought
    and not told."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(_Body):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(_Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountTokensRequest(_Body):
    """What makes a prompt."""

    model_config = ConfigDict(strict=True, extra="allow")

    # They would bring what is not in the messages. `context_management` may only leave out what is: ignored.
    refused: ClassVar[tuple[str, ...]] = ("container", "mcp_servers")

    model: Annotated[Text, StringConstraints(min_length=1, max_length=512)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    system: Texts | None = None
    tools: Annotated[list[ToolBody], Field(max_length=128)] | None = None
    tool_choice: ChoiceBody | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        check(self.tools or [], self.tool_choice)
        return self

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedField for a field that was sent and cannot be honoured."""
        sent = self.model_extra or {}
        for name in self.refused:
            if sent.get(name):
                raise UnsupportedField(f"{name}: this server cannot honour it; leave it out.", param=name)

    @property
    def effort(self) -> str | None:
        """How hard to think; None: as the model does by itself."""
        kind = self.thinking.type if self.thinking else None
        if kind == "disabled":
            return "none"
        asked = self.output_config.effort if self.output_config else None
        return _EFFORTS.get(asked, asked) if asked else ("medium" if kind == "enabled" else None)

    @property
    def grammar(self) -> Grammar | None:
        asked = self.output_config.format if self.output_config else None
        return grammar_of_schema("output_config.format.schema", asked.schema_) if asked else None

    def sampling(self, _: Sampling) -> SamplingParams:
        """Counting samples nothing."""
        return SamplingParams()

    def conversation(self) -> Conversation:
        """The request in the words of no API. Raises UnsupportedField and InvalidValue."""
        self.refuse_unsupported()
        return Conversation(
            model=self.model,
            messages=messages_of(self.system, self.messages),
            sampling=self.sampling,
            tools=tuple(tool.tool(place) for place, tool in enumerate(self.tools or ())),
            choice=policy(self.tool_choice),
            grammar=self.grammar,
            reasoning_effort=self.effort,
        )


class MessagesRequest(CountTokensRequest):
    """A conversation to continue. A last message of the assistant is what the answer begins with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2",
                    "max_tokens": 64,
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                }
            ]
        }
    )

    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)]
    temperature: Probability | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop_sequences: Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = False
    metadata: dict[str, Any] | None = None

    @property
    def hides_thoughts(self) -> bool:
        return self.thinking is not None and self.thinking.display == "omitted"

    def sampling(self, advised: Sampling) -> SamplingParams:
        """The parsed sampling parameters; what the request leaves out is what the model's makers advise."""
        return SamplingParams(
            temperature=advised.temperature if self.temperature is None else self.temperature,
            top_k=advised.top_k if self.top_k is None else self.top_k,
            top_p=advised.top_p if self.top_p is None else self.top_p,
            min_p=advised.min_p,
            repetition_penalty=advised.repetition_penalty,
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
        )
