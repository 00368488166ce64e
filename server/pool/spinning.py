"""Which workers may let their idle threads burn a core while they wait for more to do.

Alone, a worker gains by it. Two that do it take the cores from each other: two models of ONNX on two cores wrote
113 + 115 tokens a second spinning, and 205 + 202 not. An engine may have to open its model again to change its mind,
so nobody is told before two really ran at once, nor told back before one had been alone for a while.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from .resident import Resident

ALONE = 60.0  # seconds


class Spinning:
    """Tells workers; `residents` are those that are loaded."""

    def __init__(self, residents: Callable[[], Iterable[Resident]]) -> None:
        self._residents = residents
        self._timer: asyncio.TimerHandle | None = None

    @property
    def crowded(self) -> bool:
        """Whether more than one model is in use."""
        return len(self._busy()) > 1

    def look(self) -> None:
        """Somebody began to use a model."""
        if self.crowded:
            for resident in self._busy():
                resident.set_spin(spin=False)
            self._again_later()
        elif self._timer is None and not all(resident.spins for resident in self._busy()):
            self._again_later()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _busy(self) -> list[Resident]:
        return [resident for resident in self._residents() if resident.users and resident.loaded]

    def _again_later(self) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(ALONE, self._look_back)

    def _look_back(self) -> None:
        """The one model that was used of late may spin again. Nobody is told while he rests."""
        self._timer = None
        now = time.monotonic()
        recent = [r for r in self._residents() if r.loaded and (r.users or now - r.last_used < ALONE)]
        if len(recent) == 1:
            recent[0].set_spin(spin=True)
        elif recent:
            self._again_later()
