"""What happens to a model that nobody uses: first its KV memory goes, then its weights."""

import asyncio
import time
from collections.abc import Callable

from ..settings import Settings
from .resident import Resident


class IdleTimers:
    """One pair of timers for each idle model; none for those that are in use, so an idle server does nothing."""

    def __init__(self, settings: Settings, release: Callable[[Resident], None], unload: Callable[[Resident], None]):
        self._keep_cache, self._keep_alive = settings.keep_cache, settings.keep_alive
        self._release, self._unload = release, unload
        self._timers: dict[Resident, list[asyncio.TimerHandle]] = {}
        self._asked: dict[str, float] = {}  # seconds that requests want a model kept, by its name

    def keep(self, model: str, seconds: float) -> None:
        """A request wants the model kept for so long when nobody uses it; -1: for ever."""
        self._asked[model] = seconds

    def forget(self, model: str) -> None:
        """The model has gone. What a request wanted of it is over: the next load is for others."""
        self._asked.pop(model, None)

    def start(self, resident: Resident) -> None:
        """The model became idle now."""
        self.stop(resident)
        keep_alive = self._seconds(resident)
        loop = asyncio.get_running_loop()
        timers = self._timers[resident] = []
        if self._keep_cache >= 0 and not 0 <= keep_alive <= self._keep_cache:
            timers.append(loop.call_later(self._keep_cache, self._release, resident))
        if keep_alive >= 0:
            timers.append(loop.call_later(keep_alive, self._unload, resident))
            resident.unload_at = time.monotonic() + keep_alive

    def _seconds(self, resident: Resident) -> float:
        """What a request asked for, what models.yaml says of the model, what holds for all. Below 0: for ever."""
        asked = self._asked.get(resident.spec.name, resident.spec.keep_alive)
        return self._keep_alive if asked is None else asked

    def stop(self, resident: Resident) -> None:
        """It is in use again, or gone."""
        resident.unload_at = None
        for timer in self._timers.pop(resident, ()):
            timer.cancel()
