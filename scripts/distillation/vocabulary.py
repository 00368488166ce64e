"""Whether a teacher's logits can be compared with a student's at all."""

from typing import Any

from server.errors import InvalidValue


def same_vocabulary(student: Any, teacher: Any) -> None:
    """Raises InvalidValue where the same number is not the same token."""
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine != theirs:
        other = len({*mine.items()} ^ {*theirs.items()})
        raise InvalidValue(
            f"Teacher and student have different vocabularies ({other} entries differ), so their logits cannot be"
            " compared. Let the teacher write text instead: python -m scripts teach"
        )
