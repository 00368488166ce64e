"""Alpaca: an instruction, often an input that it is about, and the output."""

from typing import Any

from ...examples import Example, Turn
from .shape import Shape, written


def _read(fields: dict[str, Any]) -> Example:
    asked, about = written(fields, "instruction"), fields.get("input")
    if about not in (None, ""):
        asked = f"{asked}\n\n{written(fields, 'input')}"
    return Example((Turn("user", asked), Turn("assistant", written(fields, "output"))))


SHAPE = Shape(("instruction", "output"), _read, optional=("input",))
