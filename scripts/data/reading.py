"""Files as examples: of each line one, or why it is none."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from server.errors import InvalidValue

from ..examples import Example, Turn, wrong
from .formats import rows
from .order import Order
from .row import Bad
from .shapes import SHAPES
from .shapes.chosen import chosen, missing
from .shapes.shape import Shape, written


@dataclass(frozen=True, slots=True)
class Read:
    """A line. `group` is the value of the field that keeps examples together, `done` the share of the file read."""

    number: int
    content: Example | Bad
    group: str
    done: float


class Reader:
    """Lines of files, in the shape that the order describes or that their fields say."""

    def __init__(self, order: Order) -> None:
        described = chosen(order.input, order.output, order.template)
        self._shapes = (described,) if described else SHAPES
        self._described = described is not None
        self._order = order

    def lines(self, path: Path) -> Iterator[Read]:
        """Raises InvalidValue for a file that is none, holds nothing, or no line of a known shape."""
        first: dict[str, Any] | None = None
        known = False
        number = 0
        for row in rows(path):
            number = row.number
            fields = row.content
            if isinstance(fields, Bad):
                yield Read(row.number, fields, "", row.done)
                continue
            first = first or fields
            shape = next((shape for shape in self._shapes if shape.matches(fields)), None)
            known = known or shape is not None
            try:
                example, group = self._example(shape, fields)
            except Bad as error:
                yield Read(row.number, error, "", row.done)
            else:
                yield Read(row.number, example, group, row.done)
        if not number:
            raise InvalidValue(f"{path} holds no example.")
        if first is not None and not known:
            raise InvalidValue(self._unknown(path, first))

    def _example(self, shape: Shape | None, fields: dict[str, Any]) -> tuple[Example, str]:
        """Raises Bad."""
        if shape is None:
            raise missing(self._shapes[0], fields) if self._described else Bad("missing field", _unrecognised(fields))
        example = shape.read(fields)
        turns = example.messages
        if self._order.system and turns and turns[0].role != "system":
            turns = (Turn("system", self._order.system), *turns)
        example = msgspec.structs.replace(example, messages=turns, label=self._label(fields))
        complaint = wrong(example)
        if complaint:
            raise Bad("bad conversation", complaint)
        try:
            msgspec.json.encode(example)
        except (UnicodeEncodeError, TypeError, ValueError, msgspec.MsgspecError):
            raise Bad("not Unicode", "a text is not UTF-8") from None
        return example, written(fields, self._order.group) if self._order.group else ""

    def _label(self, fields: dict[str, Any]) -> str | None:
        if self._order.label:
            return written(fields, self._order.label)
        found = fields.get("label")
        return str(found) if isinstance(found, str | int) else None

    def _unknown(self, path: Path, fields: dict[str, Any]) -> str:
        found = ", ".join(map(str, fields)) or "none"
        if self._described:
            wanted = ", ".join(f"'{name}'" for name in self._shapes[0].required)
            return f"{path}: no line has the fields {wanted}; found are {found}."
        known = "; ".join(shape.name for shape in SHAPES)
        return (
            f"{path}: the fields found are {found}, which is no known shape ({known}); say which field is what with"
            " --input and --output."
        )


def _unrecognised(fields: dict[str, Any]) -> str:
    return f"the fields {', '.join(map(str, fields)) or 'none'} are no known shape"
