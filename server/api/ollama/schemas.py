"""POST /api/chat and /api/generate: the requests."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ...chat.tools.base import Tool
from ...errors import UnsupportedField
from ...types import Grammar
from ..conversation import Conversation
from ..schemas.chat import MOST_LIKELY
from ..schemas.common import KeepAlive, Text
from ..schemas.guided import ANY_OBJECT, grammar_of_schema
from ..schemas.tools import FunctionDefinition
from .intake import Message, messages_of
from .options import Options

ModelName = Annotated[Text, StringConstraints(min_length=1, max_length=512)]


class ToolBody(BaseModel):
    model_config = ConfigDict(strict=True)

    type: str = "function"
    function: FunctionDefinition

    def tool(self) -> Tool:
        f = self.function
        return Tool(f.name, f.description or "", f.parameters or {"type": "object", "properties": {}})


class _Generation(BaseModel):
    """What both requests share. `truncate` and `shift` are ignored: nothing is cut."""

    model_config = ConfigDict(strict=True, extra="allow")

    refused: ClassVar[tuple[str, ...]] = ("template", "images")

    model: ModelName
    stream: bool | None = True
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELY)] | None = None

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedField for a field that was sent and cannot be honoured."""
        sent = self.model_extra or {}
        for name in self.refused:
            if sent.get(name):
                raise UnsupportedField(f"{name}: this server cannot honour it; leave it out.", param=name)
        self.sampled.check()

    @property
    def unloads(self) -> bool:
        """Whether a request that would only load a model is meant to unload it."""
        return self.keep_alive == 0

    @property
    def sampled(self) -> Options:
        return self.options or Options()

    @property
    def grammar(self) -> Grammar | None:
        if not self.format and not isinstance(self.format, dict):
            return None
        return grammar_of_schema("format", self.format if isinstance(self.format, dict) else ANY_OBJECT)

    @property
    def scored(self) -> int | None:
        """How many likeliest tokens are asked for; None: no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def effort(self) -> str | None:
        """How hard to think; None: as the model does by itself."""
        match self.think:
            case bool():
                return "medium" if self.think else "none"
            case "max":
                return "xhigh"
            case degree:
                return degree

    def _conversation(self, messages: list[dict[str, Any]], tools: tuple[Tool, ...] = ()) -> Conversation:
        return Conversation(
            model=self.model,
            messages=messages,
            sampling=self.sampled.sampling,
            tools=tools,
            grammar=self.grammar,
            logprobs=self.scored,
            reasoning_effort=self.effort,
            limit_field="options.num_predict",
        )


class ChatRequest(_Generation):
    """A conversation to continue; without messages the model is loaded."""

    messages: Annotated[list[Message], Field(max_length=4096)] | None = None
    tools: Annotated[list[ToolBody], Field(max_length=128)] | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError("tools: two functions have one name")
        return self

    def conversation(self) -> Conversation:
        """The request in the words of no API."""
        return self._conversation(messages_of(self.messages or []), tuple(tool.tool() for tool in self.tools or ()))


class GenerateRequest(_Generation):
    """A prompt to answer, or with `raw` to continue; without one the model is loaded."""

    refused = (*_Generation.refused, "suffix", "context")

    prompt: Text | None = None
    system: Text | None = None
    raw: bool | None = None

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.raw and self.system:
            raise UnsupportedField("system: a raw prompt has no place for it; leave it out.", param="system")

    def conversation(self) -> Conversation:
        """The prompt as a turn of the user. Not for `raw`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self._conversation([*system, {"role": "user", "content": self.prompt or ""}])
