"""What an answer consists of, once its text has been read: words, thoughts and calls of tools.

Every API adapter (OpenAI chat, Responses, Anthropic, Ollama) is a translation of these, and of nothing else.
"""

from msgspec import Struct


class Text(Struct, frozen=True):
    """More of the answer."""

    text: str


class Reasoning(Struct, frozen=True):
    """More of what a thinking model says to itself."""

    text: str


class CallBegun(Struct, frozen=True):
    """A call of a tool: the `index`-th of this answer, from 0. Its arguments follow, in pieces."""

    index: int
    id: str
    name: str


class CallArguments(Struct, frozen=True):
    """More of the JSON text of a call's arguments."""

    index: int
    text: str


ChatEvent = Text | Reasoning | CallBegun | CallArguments
