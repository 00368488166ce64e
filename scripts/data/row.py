"""What a file of any format holds: rows of fields, or why one is none."""

from dataclasses import dataclass
from typing import Any


class Bad(Exception):
    """A line that is no example: of what kind the fault is, which the card counts, and what it is here."""

    def __init__(self, kind: str, reason: str = "") -> None:
        super().__init__(reason or kind)
        self.kind = kind
        self.reason = reason or kind


@dataclass(frozen=True, slots=True)
class Row:
    """`number` is the line (of Parquet: the row) from 1, `done` the share of the file that is read, 0..1."""

    number: int
    content: dict[str, Any] | Bad
    done: float


def row(number: int, value: object, done: float) -> Row:
    """A decoded value as a row: only an object has fields."""
    if isinstance(value, dict):
        return Row(number, value, done)
    return Row(number, Bad("not an object", f"{type(value).__name__} instead of an object with fields"), done)
