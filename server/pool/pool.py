"""The loaded models: each loads on first use, once for all who wait; a dead worker is replaced on the next use."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import LoadFailed, ModelLoading, ModelNotFound, ModelNotPulled, PoolFull, QueueFull
from ..hardware.cpu import usable_cores
from ..models.names import ModelName
from ..models.registry import Registry
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..runners.base import Placement
from ..settings import Settings
from ..worker.messages import Load
from .eviction import Candidate, choose_victim
from .resident import Resident

log = logging.getLogger(__name__)


class Pool:
    """Owns every worker. Used by the event loop only, so its table needs no lock."""

    def __init__(self, settings: Settings, registry: Registry, store: Store) -> None:
        self._settings = settings
        self._registry = registry
        self._store = store
        self._residents: dict[str, Resident] = {}

    @property
    def residents(self) -> list[Resident]:
        return list(self._residents.values())

    def find(self, name: str) -> tuple[ModelSpec, Variant]:
        """The model of `name` and the variant that would serve it. Raises ModelNotFound and ModelNotPulled."""
        spec, variants = self._registry.resolve(name)
        if ModelName.parse(name).adapter:
            raise ModelNotFound(f"'{name}': {spec.name} has no such adapter.", param="model")
        pulled = [variant for variant in variants if self._store.manifest(spec, variant)]
        if not pulled:
            raise ModelNotPulled(
                f"Model '{name}' is known but its files are not here. Get them with: cupola pull {name}", param="model"
            )
        return spec, pulled[0]

    def context_of(self, spec: ModelSpec, variant: Variant) -> int:
        """Tokens a sequence of this variant may have, before an engine has said so."""
        known = variant.context_length or spec.context_length
        return min(known or self._settings.context, self._settings.context)

    def resident(self, spec: ModelSpec, variant: Variant) -> Resident | None:
        """The loaded or loading model, if it is."""
        return self._residents.get(spec.variant_id(variant))

    @asynccontextmanager
    async def lease(self, name: str, wait: float | None = None) -> AsyncIterator[Resident]:
        """A loaded model, in use until the block ends. `wait` bounds the wait for a load, in seconds (None: wait).

        Raises ModelNotFound, ModelNotPulled, PoolFull, QueueFull, ModelLoading and LoadFailed.
        """
        spec, variant = self.find(name)
        resident = self._resident(spec, variant)
        self._admit(resident)
        resident.users += 1
        try:
            await self._await_load(resident, wait)
            yield resident
        finally:
            resident.users -= 1
            resident.last_used = time.monotonic()

    async def close(self) -> None:
        """Unload everything."""
        residents, self._residents = self.residents, {}
        await asyncio.gather(*(resident.close() for resident in residents))

    def _admit(self, resident: Resident) -> None:
        """Whoever waits, for the load, the template or a slot, waits in one queue, and that is bounded."""
        if resident.users >= self._settings.slots + self._settings.max_queue:
            raise QueueFull(
                f"{resident.spec.name}: {self._settings.max_queue} requests are waiting already. Try again shortly.",
                retry_after=2,
            )

    def _resident(self, spec: ModelSpec, variant: Variant) -> Resident:
        """The model, loading if it was not here. Not a coroutine: nobody may come between a look and a change."""
        key = spec.variant_id(variant)
        found = self._residents.get(key)
        if found is not None and found.usable:
            return found
        evicted = [self._residents.pop(r.key) for r in self.residents if not r.usable]
        if len(self._residents) >= self._settings.max_models:
            evicted.append(self._make_room(key))
        resident = self._residents[key] = Resident(spec, variant)
        resident.loading = asyncio.create_task(self._load(resident, evicted), name=f"load {key}")
        resident.loading.add_done_callback(_note_failure)
        return resident

    def _make_room(self, key: str) -> Resident:
        victim = choose_victim(Candidate(r.key, r.users, r.last_used) for r in self._residents.values())
        if victim is None:
            raise PoolFull(
                f"Cannot load {key}: all {len(self._residents)} loaded models are in use. Try again, or raise"
                " CUPOLA_MAX_MODELS.",
                retry_after=5,
            )
        log.info("unloading %s to make room for %s", victim, key)
        return self._residents.pop(victim)

    async def _load(self, resident: Resident, evicted: list[Resident]) -> None:
        """Runs once for all who wait. A failure is told to them and then forgotten: the next request tries again."""
        try:
            for old in evicted:
                await old.close()
            began = time.monotonic()
            message = await asyncio.to_thread(self._message, resident)  # may copy files
            await resident.load(message, self._settings.load_timeout)
            log.info("loaded %s in %.1f s", resident.key, time.monotonic() - began)
        except TimeoutError:
            raise LoadFailed(f"{resident.key} did not load within {self._settings.load_timeout:.0f} s.") from None
        finally:
            if resident.state != "loaded" and self._residents.get(resident.key) is resident:
                del self._residents[resident.key]

    async def _await_load(self, resident: Resident, wait: float | None) -> None:
        assert resident.loading is not None
        try:
            # The load goes on when one of those who wait for it leaves.
            await asyncio.wait_for(asyncio.shield(resident.loading), wait)
        except TimeoutError:
            raise ModelLoading(
                f"{resident.spec.name} is loading, {resident.progress:.0%} done. Try again shortly.", retry_after=2
            ) from None

    def _message(self, resident: Resident) -> Load:
        settings, variant = self._settings, resident.variant
        manifest = self._store.manifest(resident.spec, variant)
        path = self._store.path(manifest) if manifest and manifest.files else None
        placement = Placement(
            threads=settings.threads or usable_cores(),
            slots=settings.slots,
            context=self.context_of(resident.spec, variant),
        )
        return Load(variant.backend, str(path) if path else None, placement, settings.prefill_ms / 1000)


def _note_failure(task: asyncio.Task[None]) -> None:
    """A load may fail when nobody waits for it any more; the log is then the only reader."""
    if not task.cancelled() and (error := task.exception()):
        log.warning("%s: %s", task.get_name(), error)
