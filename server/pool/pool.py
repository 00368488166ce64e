"""The loaded models: each loads on first use, once for all who wait; a dead worker is replaced on the next use.

Of the variants that are here the best one is tried first; where it cannot be loaded, the next. A model leaves when it
was idle for long, when another needs its memory, when it is asked to, and when models.yaml says something else of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from ..errors import LoadFailed, ModelInUse, NotEnoughMemory, QueueFull
from ..metrics.meter import Meter
from ..models.choice import Chooser
from ..models.select import Choice
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..settings import Settings
from ..worker.messages import StepDone
from .adapters import AdapterFiles
from .budget import Budget
from .failures import FailedLoads, none_loads
from .following import runs_alike
from .idle import IdleTimers
from .loader import Loader
from .purpose import Purpose, require
from .resident import Resident, UnloadReason, resident_key
from .room import Room, all_gone
from .spinning import Spinning
from .waiting import until_loaded

log = logging.getLogger(__name__)


class Pool:
    """Owns every worker. Used by the event loop only, so its table needs no lock."""

    def __init__(self, settings: Settings, chooser: Chooser, store: Store, meter: Meter) -> None:
        self._settings = settings
        self._meter = meter
        self._chooser = chooser
        self._loader = Loader(settings, chooser, store)
        self._residents: dict[str, Resident] = {}
        self._leaving: dict[Resident, asyncio.Task[None]] = {}  # those that end, and when their memory is back
        self._retired: set[Resident] = set()  # those that end when their last user has gone
        self._failures = FailedLoads()
        self.adapters = AdapterFiles(settings.require_signature)
        self.budget = Budget(settings.memory)
        self._room = Room(self.budget, settings.max_models, settings.room_seconds, self.pinned, self._evict)
        self._timers = IdleTimers(settings, Resident.release_cache, self._unload_idle)
        self._spinning = Spinning(self._residents.values)

    @property
    def residents(self) -> list[Resident]:
        """All that have a worker, also those that are leaving."""
        return [*self._residents.values(), *self._retired, *self._leaving]

    def find(self, name: str) -> tuple[ModelSpec, Variant]:
        """The model of `name` and the variant that would serve it.

        Raises ModelNotFound, ModelNotPulled, and LoadFailed where nothing that is here can run here.
        """
        spec, choices = self._choices(name)
        return spec, choices[0].variant

    def context_of(self, spec: ModelSpec, variant: Variant) -> int:
        """Tokens a sequence of this variant may have, before an engine has said so."""
        return self._loader.context_of(spec, variant)

    def resident(self, spec: ModelSpec, variant: Variant) -> Resident | None:
        """The loaded or loading model, if it is."""
        return self._residents.get(resident_key(spec, variant))

    def pinned(self, resident: Resident) -> bool:
        """Whether it stays until it is asked to go."""
        return any(self._chooser.means(name, resident.spec, resident.variant) for name in self._settings.pinned)

    def keep(self, name: str, seconds: float | None) -> None:
        """For how long the model shall stay when nobody uses it, until another request says otherwise or it has gone.

        -1: for ever. None says nothing. Raises ModelNotFound.
        """
        if seconds is not None:
            spec, _ = self._chooser.ranking(name)
            self._timers.keep(spec.name, seconds)

    @asynccontextmanager
    async def lease(
        self, name: str, wait: float | None = None, *, purpose: Purpose = "text"
    ) -> AsyncIterator[Resident]:
        """A loaded model, in use until the block ends. `wait` bounds the wait for a load, in seconds (None: wait).

        Raises ModelNotFound, ModelNotPulled, PoolFull, QueueFull, ModelLoading, NotEnoughMemory and LoadFailed, and
        WrongModel for one that does not serve the purpose: before a load where models.yaml says so.
        """
        spec, _ = self._choices(name)
        require(purpose, spec, encodes=spec.encodes)
        resident = await self._loaded(name, wait)
        try:
            require(purpose, spec, encodes=resident.dimension is not None)
            resident.asleep = False
            self._spinning.look()
            yield resident
        finally:
            self._leave(resident)

    async def load(self, name: str, *, wait: float | None = None, keep_alive: float | None = None) -> Resident:
        """Load a model, or find that it is. Raises what `lease` raises."""
        self.keep(name, keep_alive)
        async with self.lease(name, wait, purpose="any") as resident:
            return resident

    async def unload(self, name: str, *, force: bool = False) -> bool:
        """Unload every variant that `name` admits; False if none was loaded. Its memory is back then.

        Raises ModelNotFound, and ModelInUse unless it is forced: then all its requests fail, of older workers too.
        """
        spec, choices = self._chooser.ranking(name)
        keys = {resident_key(spec, choice.variant) for choice in choices}
        present = [*self._residents.values(), *(self._retired if force else ())]
        found = [resident for resident in present if resident.key in keys]
        used = [resident for resident in found if resident.users]
        if used and not force:
            raise ModelInUse(
                f"{used[0].key} answers {used[0].users} requests now. Wait for them, or unload it by force.",
                param="model",
            )
        self._timers.forget(spec.name)
        await all_gone([self._end(resident, "asked") for resident in found])
        return bool(found)

    async def unload_all(self) -> None:
        """Unload what nobody uses."""
        idle = [resident for resident in self._residents.values() if not resident.users]
        await all_gone([self._end(resident, "asked") for resident in idle])

    def follow(self, changed: Mapping[str, ModelSpec | None]) -> None:
        """Models are described otherwise now, or (None) no more.

        Where that concerns what a worker runs it answers whom it has, then it goes, and a new request loads anew.
        """
        for resident in list(self._residents.values()):
            name = resident.spec.name
            newer = changed.get(name)
            if newer is not None and runs_alike(resident.spec, newer, resident.variant):
                resident.spec = newer
                self._rest(resident)
            elif name in changed:
                self._retire(resident)

    async def close(self) -> None:
        """Unload everything."""
        self._spinning.close()
        for resident in [*self._residents.values(), *self._retired]:
            self._end(resident, "closing")
        await all_gone(self._leaving.values())

    async def _loaded(self, name: str, wait: float | None) -> Resident:
        """The best variant that loads, with its user counted."""
        deadline = None if wait is None else time.monotonic() + wait
        spec, choices = self._choices(name)
        refused: dict[str, LoadFailed | NotEnoughMemory] = {}
        for choice in choices:
            resident = self._resident(spec, choice)
            self._admit(resident)
            resident.users += 1
            self._timers.stop(resident)
            try:
                await until_loaded(resident, deadline)
            except (LoadFailed, NotEnoughMemory) as error:
                self._leave(resident)
                self._failures.note(resident.key, time.monotonic())
                refused[resident.key] = error
                if choice is not choices[-1]:
                    self._meter.fell_back(spec.name)
                    log.warning("%s did not load, for the reason above; trying the next variant", resident.key)
            except BaseException:
                self._leave(resident)
                raise
            else:
                self._failures.forget(resident.key)
                return resident
        raise none_loads(spec.name, refused)

    def _leave(self, resident: Resident) -> None:
        resident.users -= 1
        resident.last_used = time.monotonic()
        if resident.users:
            return
        if resident in self._retired:
            self._end(resident, "reload")
        self._rest(resident)
        self._room.look_again()

    def _rest(self, resident: Resident) -> None:
        """From now on it is idle, unless somebody uses it; a pinned one stays as it is."""
        here = self._residents.get(resident.key) is resident and resident.loaded
        if here and not resident.users and not self.pinned(resident):
            self._timers.start(resident)

    def _choices(self, name: str) -> tuple[ModelSpec, list[Choice]]:
        """What may serve `name`, best first; what could not be loaded a moment ago comes last."""
        spec, choices = self._chooser.serving(name)
        now = time.monotonic()
        return spec, sorted(choices, key=lambda c: self._failures.recent(resident_key(spec, c.variant), now))

    def _admit(self, resident: Resident) -> None:
        """Whoever waits, for the load, the template or a slot, waits in one queue, and that is bounded."""
        if resident.users >= self._settings.slots + self._settings.max_queue:
            raise QueueFull(
                f"{resident.spec.name}: {self._settings.max_queue} requests are waiting already. Try again shortly.",
                retry_after=2,
            )

    def _resident(self, spec: ModelSpec, choice: Choice) -> Resident:
        """The model, loading if it was not here. Not a coroutine: nobody may come between a look and a change."""
        key = resident_key(spec, choice.variant)
        found = self._residents.get(key)
        if found is not None and found.usable:
            return found
        if found is not None:
            self._died(found)
        resident = self._residents[key] = Resident(spec, choice, self._stepped, self._died)
        resident.loading = asyncio.create_task(self._load(resident), name=f"load {key}")
        resident.loading.add_done_callback(_note_failure)
        return resident

    async def _load(self, resident: Resident) -> None:
        """Runs once for all who wait. A failure is told to them and then forgotten: the next request tries again."""
        try:
            estimate = await self._loader.estimate(resident)
            await self._room.make(resident, estimate, lambda: self.residents, partial(self._loader.asked, resident))
            await self._loader.load(resident, spin=not self._spinning.crowded)
            self._meter.loaded(resident.spec.name, resident.load_seconds)
            self.budget.learn(resident)
            resident.needs = self.budget.needs(resident.key, resident.needs)
            self._rest(resident)  # those who asked for it may have left, and others wait for its room
            self._room.look_again()
        except LoadFailed:
            self._meter.load_failed(resident.spec.name)
            raise
        finally:
            if not resident.loaded and self._residents.get(resident.key) is resident:
                del self._residents[resident.key]
                self._room.look_again()

    def _stepped(self, resident: Resident, step: StepDone) -> None:
        self._meter.step(resident.spec.name, resident, step)

    def _died(self, resident: Resident) -> None:
        """Its worker ended by itself. Those who used it are told by it; the next request loads anew."""
        if resident not in self._leaving:
            self._meter.restarted(resident.spec.name, resident.death)
            self._end(resident, "died")

    def _unload_idle(self, resident: Resident) -> None:
        log.info("unloading %s, which nobody used for %.0f s", resident.key, time.monotonic() - resident.last_used)
        self._end(resident, "idle")

    def _evict(self, resident: Resident) -> "asyncio.Task[None]":
        self._meter.evicted(resident.spec.name)
        return self._end(resident, "budget")

    def _retire(self, resident: Resident) -> None:
        """Out of the table, so that a new one may be loaded beside it; its users are served to their end."""
        if resident.users:
            del self._residents[resident.key]
            resident.leaving = "reload"
            self._retired.add(resident)
        else:
            self._end(resident, "reload")
        self.budget.forget(resident.key)  # it may need less from now on

    def _end(self, resident: Resident, reason: UnloadReason) -> "asyncio.Task[None]":
        """Out of the table at once; the task is done when its memory is back with the system."""
        self._timers.stop(resident)
        self._retired.discard(resident)
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
        if resident.spec.name not in {other.spec.name for other in self._residents.values()}:
            self._timers.forget(resident.spec.name)
        if resident.loaded:
            self.budget.learn(resident)
        resident.leaving = reason
        task = self._leaving[resident] = asyncio.create_task(resident.close(), name=f"unload {resident.key}")
        task.add_done_callback(lambda _: self._gone(resident, reason))
        return task

    def _gone(self, resident: Resident, reason: UnloadReason) -> None:
        del self._leaving[resident]
        self._meter.unloaded(resident.spec.name, resident, reason)
        self._room.look_again()


def _note_failure(task: asyncio.Task[None]) -> None:
    """A load may fail when nobody waits for it any more; the log is then the only reader."""
    if not task.cancelled() and (error := task.exception()):
        log.warning("%s: %s", task.get_name(), error)
