"""What all formats share: one is a `Layout` to read calls by, a `Shape` to force them, and marks of its templates."""

import re
import secrets
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from . import grammar
from .base import Messages, NewId, Tool, ToolChoice, ToolParser
from .reader import CallReader, Layout

_TOOLS = re.compile(r"\btools\b")


def call_id() -> str:
    """An id as OpenAI's API makes them."""
    return f"call_{secrets.token_hex(12)}"


def knows_tools(template: str) -> bool:
    """Whether the template reads the variable or key `tools`."""
    return _TOOLS.search(template) is not None


class WrittenFormat(Struct, frozen=True):
    """A format by its data. `marks`: a template with one of them writes calls so."""

    name: str
    layout: Layout
    shape: grammar.Shape
    marks: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def matches(self, template: str) -> bool:
        return knows_tools(template) and any(mark in template for mark in self.marks)

    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        return messages, [tool.for_template() for tool in tools] or None

    def grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        return grammar.forcing(self.shape, tools, choice)

    def grammar_auto(self, tools: Sequence[Tool], choice: ToolChoice) -> str | None:
        if not any(tool.strict for tool in tools):
            return None
        return grammar.permitting(self.shape, self.layout, tools, choice)

    def parser(self, tools: Sequence[Tool], new_id: NewId | None = None) -> ToolParser:
        return CallReader(self.layout, [tool.name for tool in tools], new_id or self.new_id)

    def new_id(self) -> str:
        return call_id()
