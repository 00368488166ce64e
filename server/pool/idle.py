"""What happens to a model that nobody uses: first its KV memory goes, then its weights."""

import asyncio
import time
from collections.abc import Callable

from .resident import Resident

FOR_EVER = -1.0


class IdleTimers:
    """One pair of timers for each idle model; none for those that are in use, so an idle server does nothing."""

    def __init__(self, keep_cache: float, release: Callable[[Resident], None], unload: Callable[[Resident], None]):
        self._keep_cache = keep_cache
        self._release, self._unload = release, unload
        self._timers: dict[Resident, list[asyncio.TimerHandle]] = {}

    def start(self, resident: Resident, keep_alive: float) -> None:
        """The model became idle now. Negative numbers of seconds: for ever."""
        self.stop(resident)
        loop = asyncio.get_running_loop()
        timers = self._timers[resident] = []
        if self._keep_cache >= 0 and not 0 <= keep_alive <= self._keep_cache:
            timers.append(loop.call_later(self._keep_cache, self._release, resident))
        if keep_alive >= 0:
            timers.append(loop.call_later(keep_alive, self._unload, resident))
            resident.unload_at = time.monotonic() + keep_alive

    def stop(self, resident: Resident) -> None:
        """It is in use again, or gone."""
        resident.unload_at = None
        for timer in self._timers.pop(resident, ()):
            timer.cancel()
