"""Tools as Anthropic's API writes them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...chat.tools.base import Tool, ToolChoice
from ...errors import UnsupportedField
from ..schemas.common import Text
from ..schemas.tools import FunctionName


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class ToolBody(_Body):
    """A tool of the client. A `type` other than "custom" names one that Anthropic's servers run."""

    type: Text | None = None
    name: FunctionName
    description: Text | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self, place: int) -> Tool:
        """Raises UnsupportedField for a tool that is not the client's own."""
        if self.type not in (None, "custom"):
            param = f"tools.{place}.type"
            raise UnsupportedField(
                f"{param}: this server runs no tools itself, '{self.type[:60]}' among them; leave it out.", param=param
            )
        schema = self.input_schema or {"type": "object", "properties": {}}
        return Tool(self.name, self.description or "", schema, bool(self.strict))


class _Several(_Body):
    disable_parallel_tool_use: bool | None = None


class AutoChoice(_Several):
    type: Literal["auto"]


class AnyChoice(_Several):
    type: Literal["any"]


class NamedChoice(_Several):
    type: Literal["tool"]
    name: FunctionName


class NoChoice(_Body):
    type: Literal["none"]


ChoiceBody = Annotated[AutoChoice | AnyChoice | NamedChoice | NoChoice, Field(discriminator="type")]


def check(tools: list[ToolBody], choice: ChoiceBody | None) -> None:
    """Raises ValueError where the tools and the choice among them do not fit together."""
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise ValueError("tools: two tools have one name")
    if isinstance(choice, AnyChoice | NamedChoice) and not names:
        raise ValueError("tool_choice: there are no tools to choose from")
    if isinstance(choice, NamedChoice) and choice.name not in names:
        raise ValueError(f"tool_choice: there is no tool '{choice.name}'")


def policy(choice: ChoiceBody | None) -> ToolChoice:
    """The choice in the words of no API. A named tool is called once, as everywhere here."""
    match choice:
        case NamedChoice(name=name):
            return ToolChoice("named", name, parallel=False)
        case AnyChoice():
            return ToolChoice("required", None, choice.disable_parallel_tool_use is False)
        case AutoChoice():
            return ToolChoice("auto", None, not choice.disable_parallel_tool_use)
        case NoChoice():
            return ToolChoice("none")
        case None:
            return ToolChoice()
