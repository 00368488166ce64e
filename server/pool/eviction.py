"""Which loaded models make room for another. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

QUICKEST = 0.05  # seconds; what loads faster is no cheaper to load again


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded model that nobody uses and that may go.

    `idle`: seconds since its last request. `reload`: seconds that loading it takes. `frees`: bytes.
    """

    key: str
    idle: float
    reload: float
    frees: int

    @property
    def dispensable(self) -> float:
        """Idle time over the cost of having it again."""
        return self.idle / max(self.reload, QUICKEST)


def choose_victims(candidates: Iterable[Candidate], lacking: int, places: int = 0) -> list[Candidate] | None:
    """Those that give `lacking` bytes and `places` places in the table: the most dispensable ones, no more than it
    takes. None if all of them are not enough."""
    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: candidate.dispensable, reverse=True):
        if _enough(chosen, lacking, places):
            break
        chosen.append(candidate)
    if not _enough(chosen, lacking, places):
        return None
    # A large one that came late may do the work of those before it.
    for candidate in list(chosen):
        rest = [other for other in chosen if other is not candidate]
        if _enough(rest, lacking, places):
            chosen = rest
    return chosen


def _enough(chosen: list[Candidate], lacking: int, places: int) -> bool:
    return sum(candidate.frees for candidate in chosen) >= lacking and len(chosen) >= places
