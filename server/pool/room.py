"""Room for a model that is to be loaded: who goes for it, how long it waits, and why it is refused."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

from ..errors import CupolaError, NotEnoughMemory, PoolFull
from .budget import Budget
from .eviction import Candidate, choose_victims
from .resident import Resident

log = logging.getLogger(__name__)

RETRY_AFTER = 5


async def all_gone(endings: Collection[asyncio.Task[None]]) -> None:
    """Wait for unloads. Whoever waits no longer ends none of them, as `gather` would: their workers would live on."""
    if endings:
        await asyncio.wait(endings)


def _is_coming(present: Iterable[Resident]) -> bool:
    """Whether memory is on its way back: nobody else has to go before it is known to be too little."""
    return any(resident.leaving and not resident.users for resident in present)


class Room:
    """Promises memory to loads. A promise is made between two awaits, so that no two loads get the same bytes."""

    def __init__(
        self,
        budget: Budget,
        most: int,
        patience: float,
        pinned: Callable[[Resident], bool],
        evict: Callable[[Resident], asyncio.Task[None]],
    ) -> None:
        """`evict` takes a model out of the table at once; what it returns is done when its memory is back."""
        self._budget, self._most, self._patience = budget, most, patience
        self._pinned, self._evict = pinned, evict
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """A model became idle, or its memory is back."""
        self._changed.set()

    async def make(
        self, wanted: Resident, estimate: int, others: Callable[[], Collection[Resident]], words: Callable[[int], str]
    ) -> None:
        """Promise its memory to a model, once it is there; idle models go for it, most dispensable first.

        Waits while all are in use. `others` are those that are loaded, loading or leaving; `words` say how many bytes
        are asked for. That is what its worker was seen to take, unless that is more than there can ever be: a worker
        that outgrew the budget once would otherwise be its last. Raises PoolFull and NotEnoughMemory.
        """
        needs = self._budget.needs(wanted.key, estimate)
        try:
            await self._promise(wanted, needs, others, words(needs))
        except NotEnoughMemory:
            if needs <= estimate or needs <= self._budget.most(others()):
                raise
            log.warning("%s took %s bytes, more than it can ever have; its estimate counts", wanted.key, f"{needs:,}")
            self._budget.forget(wanted.key)
            await self._promise(wanted, estimate, others, words(estimate))

    async def _promise(
        self, wanted: Resident, needs: int, others: Callable[[], Collection[Resident]], words: str
    ) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            self._changed.clear()
            present = [resident for resident in others() if resident is not wanted]
            victims = self._victims(present, needs)
            late = time.monotonic() >= deadline
            if victims is not None and (late or not victims or not _is_coming(present)):
                wanted.needs, wanted.placed = needs, True
                for victim in victims:
                    log.info("unloading %s to make room for %s", victim.key, wanted.key)
                await all_gone([self._evict(victim) for victim in victims])
                return
            if needs > self._budget.limit or not any(self._may_change(resident) for resident in present):
                raise self._refusal(wanted, needs, present, words)
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                if victims is None:
                    raise self._refusal(wanted, needs, present, words) from None

    def _victims(self, present: list[Resident], needs: int) -> list[Resident] | None:
        """Those that have to go; None where all that could would not be enough."""
        lacking = needs - self._budget.room(present)
        staying = [resident for resident in present if not resident.leaving]
        # Loads that wait for room have no place yet: of two that counted one another, neither would ever get one.
        places = sum(resident.placed for resident in staying) + 1 - self._most
        chosen = choose_victims(self._candidates(staying), lacking, places)
        if chosen is None:
            return None
        keys = {candidate.key for candidate in chosen}
        return [resident for resident in staying if resident.key in keys]

    def _candidates(self, staying: Iterable[Resident]) -> Iterable[Candidate]:
        now = time.monotonic()
        for resident in staying:
            if self._idle(resident) and not self._pinned(resident):
                frees = max(resident.needs, resident.memory() or 0)
                yield Candidate(resident.key, now - resident.last_used, resident.load_seconds, frees)

    def _may_change(self, resident: Resident) -> bool:
        """Whether waiting may help: what is in use or loading becomes idle, and what is leaving has left."""
        may = resident.placed and not (self._pinned(resident) or self._idle(resident))
        return resident.leaving is not None or may

    def _idle(self, resident: Resident) -> bool:
        return resident.loaded and not resident.users

    def _refusal(self, wanted: Resident, needs: int, present: list[Resident], words: str) -> CupolaError:
        idle = sum(candidate.frees for candidate in self._candidates(present))
        room = max(0, self._budget.room(present) + idle)
        placed = [resident for resident in present if resident.placed]
        staying = [resident for resident in placed if self._pinned(resident) or not self._idle(resident)]
        if not staying or needs > self._budget.limit:
            return NotEnoughMemory(
                f"{words}; of {self._budget.limit:,} that may be used, {room:,} are free. Raise CUPOLA_MEMORY, or lower"
                " CUPOLA_SLOTS or CUPOLA_CONTEXT."
            )
        reasons = ", ".join(self._why_it_stays(resident) for resident in staying)
        return PoolFull(
            f"Cannot load {wanted.key}: it needs {needs:,} bytes, {room:,} are free, and {reasons}. Try again, or raise"
            " CUPOLA_MEMORY or CUPOLA_MAX_MODELS.",
            retry_after=RETRY_AFTER,
        )

    def _why_it_stays(self, resident: Resident) -> str:
        if resident.leaving:
            return f"{resident.key} is being unloaded"
        if resident.users:
            return f"{resident.key} is in use"
        return f"{resident.key} is pinned" if self._pinned(resident) else f"{resident.key} is loading"
