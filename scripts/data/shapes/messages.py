"""Conversations as chat services write them: messages with a role and a content."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ...examples import Example, Role, Turn
from ..row import Bad
from .shape import Shape

ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def turns(value: object, role: str, content: str, roles: Mapping[str, Role]) -> tuple[Turn, ...]:
    """The turns of a list of objects, or of JSON text with one (a cell of CSV). Raises Bad."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.MsgspecError as error:
            raise Bad("not JSON", f"the conversation is no JSON: {error}") from None
    if not isinstance(value, list) or not value:
        raise Bad("bad conversation", "the conversation is no list of messages")
    return tuple(_turn(number, item, role, content, roles) for number, item in enumerate(value, start=1))


def _turn(number: int, item: object, role: str, content: str, roles: Mapping[str, Role]) -> Turn:
    if not isinstance(item, dict) or not isinstance(item.get(role), str):
        raise Bad("bad conversation", f"message {number} has no field '{role}'")
    if item[role] not in roles:
        raise Bad("unknown role", f"message {number} has the role '{item[role]}'; known are {', '.join(roles)}")
    said = _joined(item.get(content))
    if said is None:
        raise Bad("bad conversation", f"message {number} has no text in '{content}'")
    if number > 1 and roles[item[role]] == "system":
        raise Bad("bad conversation", f"message {number} is the system's, which has to be the first")
    return Turn(roles[item[role]], said)


def _joined(content: object) -> str | None:
    """A text, or the texts of parts ({"type": "text", "text": ...}); None for anything else, and for nothing."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    return content if isinstance(content, str) and content.strip() else None


def _read(fields: dict[str, Any]) -> Example:
    """Also an example that was prepared before: with its id and what was noted about it."""
    name, meta = fields.get("id"), fields.get("meta")
    return Example(
        turns(fields["messages"], "role", "content", ROLES),
        id=str(name) if isinstance(name, str | int) else "",
        meta=meta if isinstance(meta, dict) else {},
    )


SHAPE = Shape(("messages",), _read)
