"""What a pull tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["waiting", "downloading", "copying", "verifying", "joining", "converting", "measuring"]


@dataclass(frozen=True)
class Progress:
    """How far one file is. `waiting` means that another process is pulling it and these are its bytes.

    Of a conversion the bytes are those of its origin.
    """

    file: str
    done: int
    total: int | None  # None: not known
    phase: Phase


Report = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The report of a caller who does not want to know."""
