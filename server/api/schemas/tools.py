"""Tools as OpenAI's chat API writes them: definitions, the choice among them, calls."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...chat.tools.base import Tool, ToolChoice
from .common import Text

FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class FunctionDefinition(_Body):
    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    """JSON Schema of the arguments, an object. Without it a function takes none."""
    strict: bool | None = None


class ToolDefinition(_Body):
    """A function. Tools of other types live at OpenAI."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(_Body):
    name: FunctionName


class NamedTool(_Body):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(_Body):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedChoice(_Body):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoiceBody = Literal["none", "auto", "required"] | NamedTool | AllowedChoice


class FunctionCall(_Body):
    name: Text
    arguments: Text = ""


class ToolCallBody(_Body):
    """A call in a conversation: what an assistant asked for, with the arguments as JSON text."""

    id: Text = ""
    type: Literal["function"] = "function"
    function: FunctionCall


@dataclass(frozen=True, slots=True)
class Functions:
    """The tools of a request and what it says of them."""

    tools: list[ToolDefinition]
    choice: ToolChoiceBody | None
    parallel: bool | None

    def check(self) -> None:
        """Raises ValueError where the choice and the tools do not fit together."""
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("tools: two functions have one name")
        if self.choice not in (None, "none", "auto") and not names:
            raise ValueError("tool_choice: there are no tools to choose from")
        unknown = self._chosen - set(names)
        if unknown:
            raise ValueError(f"tool_choice: there is no tool '{min(unknown)}'")

    @property
    def offered(self) -> tuple[Tool, ...]:
        chosen = self._chosen if isinstance(self.choice, AllowedChoice) else None
        return tuple(
            Tool(f.name, f.description or "", f.parameters or {"type": "object", "properties": {}}, bool(f.strict))
            for f in (tool.function for tool in self.tools)
            if chosen is None or f.name in chosen
        )

    @property
    def policy(self) -> ToolChoice:
        parallel = self.parallel is not False
        match self.choice:
            case NamedTool(function=function):
                return ToolChoice("named", function.name, parallel=False)
            case AllowedChoice(allowed_tools=allowed):
                return ToolChoice(allowed.mode, None, parallel)
            case "none":
                return ToolChoice("none", None, parallel)
            case "required":
                # As llama-server has it: a small model that may call again repeats itself until it is cut.
                return ToolChoice("required", None, self.parallel is True)
            case _:
                return ToolChoice("auto", None, parallel)

    @property
    def _chosen(self) -> set[str]:
        match self.choice:
            case NamedTool(function=function):
                return {function.name}
            case AllowedChoice(allowed_tools=allowed):
                return {tool.function.name for tool in allowed.tools}
            case _:
                return set()
