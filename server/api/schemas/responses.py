"""POST /v1/responses: the request."""

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticSerializationError, to_json

from ...errors import UnsupportedField
from ...types import Grammar
from .chat import MOST_LIKELY, Effort
from .common import GenerationRequest, Text
from .guided import ANY_OBJECT, grammar_of_schema
from .responses_items import Input
from .tools import (
    AllowedChoice,
    AllowedTools,
    FunctionDefinition,
    FunctionName,
    Functions,
    NamedFunction,
    NamedTool,
    ToolChoiceBody,
    ToolDefinition,
)

# What an answer repeats, or what is kept.
_REPEATED = {"input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata", "user"}
LOGPROBS = "message.output_text.logprobs"
MOST_TOOLS = 128


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class FlatFunction(_Body):
    """A function, as the Responses API writes one."""

    type: Literal["function"]
    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def nested(self) -> ToolDefinition:
        """The same, as the chat API writes it."""
        return ToolDefinition(type="function", function=FunctionDefinition(**self.model_dump(exclude={"type"})))

    def echo(self) -> dict[str, Any]:
        return self.model_dump() | {"strict": bool(self.strict)}


class FlatNamed(_Body):
    type: Literal["function"]
    name: FunctionName

    def nested(self) -> NamedTool:
        return NamedTool(type="function", function=NamedFunction(name=self.name))


class FlatAllowed(_Body):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FlatNamed], Field(min_length=1, max_length=MOST_TOOLS)]

    def nested(self) -> AllowedChoice:
        tools = [tool.nested() for tool in self.tools]
        return AllowedChoice(type="allowed_tools", allowed_tools=AllowedTools(mode=self.mode, tools=tools))


FlatChoice = Literal["none", "auto", "required"] | FlatNamed | FlatAllowed


class TextFormat(_Body):
    """What the answer has to be. A schema is kept to, `strict` or not."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: Text | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _a_schema_where_one_belongs(self) -> Self:
        if self.type == "json_schema":
            for field, value in (("name", self.name), ("schema", self.schema_)):
                if value is None:
                    raise ValueError(f"{field}: a format of type json_schema needs it")
        return self

    def grammar(self) -> Grammar | None:
        match self.type:
            case "text":
                return None
            case "json_object":
                return grammar_of_schema("text.format", ANY_OBJECT)
            case "json_schema":
                return grammar_of_schema("text.format.schema", self.schema_ or {})


class TextConfig(_Body):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(_Body):
    effort: Effort | None = None
    mode: Text | None = None
    context: Text | None = None


MetadataKey = Annotated[Text, StringConstraints(max_length=64)]
MetadataValue = Annotated[Text, StringConstraints(max_length=512)]


class CountRequest(GenerationRequest):
    """POST /v1/responses/input_tokens: what the prompt is made of.

    Some unknown fields are ignored on purpose: `service_tier`, `prompt_cache_key`, `max_tool_calls` and the like speak
    of hosted services, and `reasoning.summary` asks for less than the thoughts that are sent.
    """

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "conversation": (),
        "prompt": (),
        "truncation": ("disabled",),
        "moderation": (),
        "context_management": ([],),
        "personality": (),
    }

    input: Input
    instructions: Text | None = None
    previous_response_id: Text | None = None
    tools: Annotated[list[FlatFunction], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @field_validator("tools", mode="before")
    @classmethod
    def _functions_only(cls, tools: Any) -> Any:
        for place, tool in enumerate(tools if isinstance(tools, list) else ()):
            kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
            if kind != "function":
                param = f"tools.{place}.type"
                raise UnsupportedField(
                    f"{param}: this server runs no tools of type {ascii(kind)[:40]}; declare a function and run it"
                    " where you are.",
                    param=param,
                )
        return tools

    @model_validator(mode="after")
    def _tools_fit(self) -> Self:
        self.functions.check()
        return self

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        """Python reads more from a body than JSON can hold, and an answer repeats much of it, a few levels deeper."""
        try:
            said = self.model_dump(include=_REPEATED)
            json.dumps(said, allow_nan=False)
            to_json([[[[said]]]])
        except (PydanticSerializationError, ValueError, RecursionError):
            raise ValueError(
                "something nests too deeply, or is a number or half a character that JSON has not"
            ) from None
        return self

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        text, reasoning = self.text or TextConfig(), self.reasoning or ReasoningConfig()
        said = (
            ("text.verbosity", text.verbosity, "medium"),
            ("reasoning.mode", reasoning.mode, "standard"),
            ("reasoning.context", reasoning.context, "auto"),
        )
        for name, value, harmless in said:
            if value is not None and value != harmless:
                raise UnsupportedField(f"{name}: this server cannot honour '{value[:40]}'; leave it out.", param=name)

    @property
    def functions(self) -> Functions:
        choice: ToolChoiceBody | None
        match self.tool_choice:
            case FlatNamed() | FlatAllowed():
                choice = self.tool_choice.nested()
            case _:
                choice = self.tool_choice
        return Functions([tool.nested() for tool in self.tools or []], choice, self.parallel_tool_calls)

    @property
    def format(self) -> TextFormat:
        return (self.text and self.text.format) or TextFormat(type="text")

    @property
    def effort(self) -> str | None:
        return self.reasoning.effort if self.reasoning else None

    @property
    def top(self) -> int | None:
        """How many likeliest tokens are wanted beside each token. None: no log-probabilities at all."""
        return None


class ResponsesRequest(CountRequest):
    """A response to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "smollm2", "input": "What is the capital of France?"}]}
    )

    max_output_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    include: Annotated[list[str], Field(max_length=32)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELY)] | None = None
    store: bool | None = None
    background: bool | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.top_logprobs and self.top is None:
            raise ValueError(f"top_logprobs: it needs '{LOGPROBS}' in include")
        if self.background and self.store is False:
            raise ValueError("background: a response that is made in the background has to be stored")
        return self

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.background and self.stream:
            raise UnsupportedField(
                "stream: a background response is not streamed here; ask for it by its id until it is completed.",
                param="stream",
            )

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens if self.max_output_tokens is None else self.max_output_tokens

    @property
    def top(self) -> int | None:
        return (self.top_logprobs or 0) if LOGPROBS in (self.include or ()) else None
