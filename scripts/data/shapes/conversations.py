"""ShareGPT: conversations of `from` and `value`."""

from typing import Any

from ...examples import Example, Role
from . import messages
from .shape import Shape

ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}


def _read(fields: dict[str, Any]) -> Example:
    return Example(messages.turns(fields["conversations"], "from", "value", ROLES))


SHAPE = Shape(("conversations",), _read)
