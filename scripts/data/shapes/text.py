"""A plain text, of which all is learned."""

from typing import Any

from ...examples import Example
from .shape import Shape, written


def _read(fields: dict[str, Any]) -> Example:
    return Example(text=written(fields, "text"))


SHAPE = Shape(("text",), _read)
