"""Which loaded model makes room for another. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded model; `last_used` is on the monotonic clock."""

    key: str
    users: int
    last_used: float


def choose_victim(loaded: Iterable[Candidate]) -> str | None:
    """The idle model that was not used for longest; None while every one is in use."""
    idle = [candidate for candidate in loaded if not candidate.users]
    return min(idle, key=lambda candidate: candidate.last_used).key if idle else None
