"""What the server and a render process say to each other."""

from typing import Any

from msgspec import Struct


class Hello(Struct, tag=True, frozen=True):
    """The render process has started: from now on a deadline measures templates, not the interpreter's start."""


class Render(Struct, tag=True, frozen=True):
    """One template to render. `variables` are what else the template may read, `enable_thinking` for example."""

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
    """The template refused, failed or asked for too much; `message` is a sentence for the client."""

    id: int
    message: str


Answer = Rendered | RenderFailed
FromRenderer = Hello | Rendered | RenderFailed
