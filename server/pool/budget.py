"""The memory that all models together may take: what each needs, and what is left. Bytes of main memory."""

from collections.abc import Iterable
from contextlib import suppress

import psutil

from ..hardware import memory
from .resident import Resident

SHARE = 0.9  # of the memory of the system or of the control group, where no budget is set


class Budget:
    """Needs are estimated from an artifact's header before its first load, and learned from its worker after it."""

    def __init__(self, limit: int | None) -> None:
        found = memory.read()
        self.limit = limit or int(SHARE * min(found.total, found.limit or found.total))
        self._learned: dict[str, int] = {}  # by key
        self._process = psutil.Process()

    def needs(self, key: str, estimate: int) -> int:
        """What a model will take: never less than its worker was seen to take."""
        return max(estimate, self._learned.get(key, 0))

    def learn(self, resident: Resident) -> None:
        """Note what its worker takes now."""
        self._learned[resident.key] = max(self._learned.get(resident.key, 0), resident.memory() or 0)

    def forget(self, key: str) -> None:
        """The model is described otherwise now: what it took says nothing any more."""
        self._learned.pop(key, None)

    def most(self, residents: Iterable[Resident]) -> int:
        """What a model could have if all others were gone."""
        return self.limit - self.taken() + sum(resident.memory() or 0 for resident in residents)

    def room(self, residents: Iterable[Resident]) -> int:
        """What another model may take now: of the budget, with what the loaded ones may still come to need, and of
        what the system has free."""
        promised = sum(max(0, resident.needs - (resident.memory() or 0)) for resident in residents)
        return min(self.limit - self.taken(), memory.usable_bytes()) - promised

    def taken(self) -> int:
        """Resident memory of this process and of all its children."""
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended meanwhile
                total += child.memory_info().rss
        return total
