"""A field with what is asked and one with the answer."""

from functools import partial
from typing import Any

from ...examples import Example, Turn
from . import messages
from .shape import Shape, written


def pair(fields: dict[str, Any], asked: str, answered: str) -> Example:
    """Either field may be a list of messages, as TRL has it."""
    before, after = fields[asked], fields[answered]
    first = (
        messages.turns(before, "role", "content", messages.ROLES)
        if isinstance(before, list)
        else (Turn("user", written(fields, asked)),)
    )
    last = (
        messages.turns(after, "role", "content", messages.ROLES)
        if isinstance(before, list) and isinstance(after, list)
        else (Turn("assistant", written(fields, answered)),)
    )
    return Example((*first, *last))


NAMES = (("prompt", "completion"), ("question", "answer"), ("input", "output"))
SHAPES = tuple(Shape(names, partial(pair, asked=names[0], answered=names[1])) for names in NAMES)
