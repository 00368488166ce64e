"""A shape that the user describes, as Olive's configurations do: an input field, an output field, a text template."""

from collections.abc import Iterable
from string import Formatter
from typing import Any

from server.errors import InvalidValue

from ...examples import Example, Turn
from ..row import Bad
from .shape import Shape, written

Piece = tuple[str, str | None]  # text, and the field that follows it


def chosen(asked: str | None, answered: str | None, template: str | None) -> Shape | None:
    """The shape of `--input`, `--output` and `--template`; None where none of them is given. Raises InvalidValue.

    A template without an output makes plain texts. In a template, `{input}` and `{output}` stand for the two fields
    where no field has that very name.
    """
    if not (asked or answered or template):
        return None
    if not (asked or template):
        raise InvalidValue("--output says where the answer is; name the question too, with --input or --template.")
    if not (answered or template):
        raise InvalidValue("--input says where the question is; name the answer too, with --output.")
    pieces = _pieces(template or "{input}")
    alias = {"input": asked, "output": answered}
    names = [name for _, name in pieces if name is not None]

    def read(fields: dict[str, Any]) -> Example:
        text = "".join(
            before + (written(fields, _field(name, fields, alias)) if name else "") for before, name in pieces
        )
        if answered is None:
            return Example(text=text)
        return Example((Turn("user", text), Turn("assistant", written(fields, answered))))

    wanted = [alias.get(name) or name for name in names]
    return Shape(tuple(dict.fromkeys(_given([*wanted, asked, answered]))), read)


def _given(names: Iterable[str | None]) -> list[str]:
    return [name for name in names if name]


def _field(name: str, fields: dict[str, Any], alias: dict[str, str | None]) -> str:
    return name if name in fields else alias.get(name) or name


def _pieces(template: str) -> list[Piece]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidValue(f"--template: {error}; a brace of the text itself is written twice.") from None
    for _, name, form, conversion in parts:
        if name == "" or form or conversion:
            raise InvalidValue("--template: braces hold the name of a field and nothing else: {name}.")
    found: list[Piece] = [(before, name) for before, name, _, _ in parts]
    if not any(name for _, name in found):
        raise InvalidValue("--template names no field; write it in braces: 'Translate: {sentence}'.")
    return found


def missing(shape: Shape, fields: dict[str, Any]) -> Bad:
    """Why a line is not of a shape that other lines have."""
    gone = [name for name in shape.required if name not in fields]
    return Bad("missing field", f"field '{gone[0]}' is missing; found are {', '.join(map(str, fields)) or 'none'}")
