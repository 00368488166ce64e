"""What the server and the render process say to each other."""

from typing import Any

from msgspec import Struct


class Hello(Struct, tag=True, frozen=True):
    """The render process has started: from now on a deadline measures templates, not the interpreter's start."""


class Render(Struct, tag=True, frozen=True):
    """One template to render."""

    id: int
    template: str
    messages: list[dict[str, Any]]
    bos_token: str = ""
    eos_token: str = ""
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    variables: dict[str, Any] = {}


class Rendered(Struct, tag=True, frozen=True):
    id: int
    text: str


class RenderFailed(Struct, tag=True, frozen=True):
    id: int
    message: str


FromRenderer = Hello | Rendered | RenderFailed
