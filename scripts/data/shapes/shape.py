"""What a shape is, and values as text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ...examples import Example
from ..row import Bad


@dataclass(frozen=True, slots=True)
class Shape:
    """`read` makes an example of fields, of which `required` are there; it raises Bad."""

    required: tuple[str, ...]
    read: Callable[[dict[str, Any]], Example]
    optional: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "/".join((*self.required, *self.optional))

    def matches(self, fields: dict[str, Any]) -> bool:
        return all(name in fields for name in self.required)


def written(fields: dict[str, Any], name: str) -> str:
    """The text of a field; numbers, objects and lists as compact JSON. Raises Bad where there is none."""
    value = fields.get(name)
    if value is None:
        raise Bad("missing field", f"field '{name}' is missing")
    if isinstance(value, str):
        if not value.strip():
            raise Bad("empty field", f"field '{name}' is empty")
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, msgspec.MsgspecError):
        raise Bad("wrong type", f"field '{name}' is a {type(value).__name__}") from None
