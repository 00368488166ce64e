"""What a tool format is: how a model writes the calls of tools, and how to make it write one.

A format is one file of this package with a `FORMAT`, listed in `server.chat.tools`. It is pure: no engine, no HTTP.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from ..events import ChatEvent

Messages = list[dict[str, Any]]
NewId = Callable[[], str]


class Tool(Struct, frozen=True):
    """A function that a model may call. `parameters` is the JSON Schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool = False

    def for_template(self) -> dict[str, Any]:
        """The tool as chat templates read it: OpenAI's shape."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class ToolChoice(Struct, frozen=True):
    """`auto`: as the model likes; `none`: no calls; `required`: at least one; `named`: of this function."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool = True  # whether an answer may have several calls


class ToolParser(Protocol):
    """Reads one answer as it comes. Whatever the text, nothing is raised and nothing is lost."""

    def push(self, text: str) -> list[ChatEvent]:
        """The events that are certain now. Text that may be the start of a call is held back."""
        ...

    def finish(self) -> list[ChatEvent]:
        """The end of the answer. A call that was begun stays a call with the arguments there are; what was held back
        and became no call is text."""
        ...


class ToolFormat(Protocol):
    """One way to write calls."""

    @property
    def name(self) -> str: ...

    @property
    def shown(self) -> tuple[str, ...]:
        """Special tokens whose text the parser needs to see. A tokenizer that hides them, or has none, does no harm
        where a call can be recognised without."""
        ...

    def matches(self, template: str) -> bool:
        """Whether a model with this chat template writes calls so."""
        ...

    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        """The messages (as `server.chat.history` makes them) and the `tools` to give the template, so that it
        declares the tools and tells of past calls. Some templates know neither: then both are in the messages."""
        ...

    def grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        """A Lark grammar of llguidance that forces what `choice` asks for (`required` or `named`): a name from the
        list, arguments by that function's schema. Raises InvalidValue when no tool is left to choose.

        Markers are spelled out; `grammar.with_tokens` puts special tokens in their place."""
        ...

    def grammar_auto(self, tools: Sequence[Tool], choice: ToolChoice) -> str | None:
        """A grammar of free text and of calls that keep to the schemas of strict tools. None: not for this format."""
        ...

    def parser(self, tools: Sequence[Tool], new_id: NewId | None = None) -> ToolParser:
        """A parser for one answer to a request with these tools. A call of a function that is not among them is text.
        `new_id` makes the ids of calls, in the format's own way unless given."""
        ...
