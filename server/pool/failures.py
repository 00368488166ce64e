"""Variants that could not be loaded a moment ago stand behind the others. Seconds on the monotonic clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import CupolaError

# For how long: twice as long with every failure.
PAUSE, LONGEST_PAUSE = 60.0, 3600.0


@dataclass(slots=True)
class Failures:
    """Loads of one variant that failed, one after the other."""

    last: float = 0.0
    count: int = 0

    def note(self, now: float) -> None:
        self.last, self.count = now, self.count + 1

    def recent(self, now: float) -> bool:
        return now - self.last < min(PAUSE * 2.0 ** min(self.count - 1, 16), LONGEST_PAUSE)


@dataclass(slots=True)
class FailedLoads:
    """Of all variants, by key."""

    _by_key: dict[str, Failures] = field(default_factory=dict)

    def note(self, key: str, now: float) -> None:
        self._by_key.setdefault(key, Failures()).note(now)

    def forget(self, key: str) -> None:
        """It could be loaded."""
        self._by_key.pop(key, None)

    def recent(self, key: str, now: float) -> bool:
        found = self._by_key.get(key)
        return found is not None and found.recent(now)


def none_loads(name: str, reasons: Mapping[str, CupolaError]) -> CupolaError:
    """What a client is told when every variant of a model failed: why each did, by key, as the last one's kind."""
    *others, last = reasons.values()
    if not others:
        return last
    told = "\n".join(f"{key}: {error.message}" for key, error in reasons.items())
    return type(last)(f"No variant of {name} could be loaded.\n{told}", retry_after=last.retry_after)
