"""The loaded models: each loads on first use, once for all who wait; a dead worker is replaced on the next use.

Of the variants that are here the best one is tried first; where it cannot be loaded, the next.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

from ..errors import LoadFailed, ModelLoading, NotEnoughMemory, PoolFull, QueueFull, WrongModel
from ..hardware.cpu import usable_cores
from ..hardware.memory import usable_bytes
from ..metrics.meter import Meter
from ..models import signing
from ..models.adapters import AdapterFormat, named
from ..models.choice import Chooser
from ..models.names import ModelName
from ..models.select import Choice
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..runners.base import Placement
from ..settings import Settings
from ..types import Adapter
from ..worker.messages import Load
from .eviction import Candidate, choose_victim
from .resident import Resident, resident_key

log = logging.getLogger(__name__)

# For how long a variant that could not be loaded stands behind the others: twice as long with every failure.
PAUSE, LONGEST_PAUSE = 60.0, 3600.0
Purpose = Literal["text", "vectors", "any"]


@dataclass(slots=True)
class Failures:
    """Loads of one variant that failed, one after the other; seconds on the monotonic clock."""

    last: float = 0.0
    count: int = 0

    def note(self, now: float) -> None:
        self.last, self.count = now, self.count + 1

    def recent(self, now: float) -> bool:
        return now - self.last < min(PAUSE * 2.0 ** min(self.count - 1, 16), LONGEST_PAUSE)


class Pool:
    """Owns every worker. Used by the event loop only, so its table needs no lock."""

    def __init__(self, settings: Settings, chooser: Chooser, store: Store, meter: Meter) -> None:
        self._settings = settings
        self._chooser = chooser
        self._store = store
        self._meter = meter
        self._residents: dict[str, Resident] = {}
        self._failures: dict[str, Failures] = {}  # by key
        self._signed: set[str] = set()  # files of adapters whose signatures were checked

    @property
    def residents(self) -> list[Resident]:
        return list(self._residents.values())

    def find(self, name: str) -> tuple[ModelSpec, Variant]:
        """The model of `name` and the variant that would serve it.

        Raises ModelNotFound, ModelNotPulled, and LoadFailed where nothing that is here can run here.
        """
        spec, choices = self._choices(name)
        return spec, choices[0].variant

    def context_of(self, spec: ModelSpec, variant: Variant) -> int:
        """Tokens a sequence of this variant may have, before an engine has said so."""
        return min(variant.context_length or spec.context_length, self._settings.context)

    def resident(self, spec: ModelSpec, variant: Variant) -> Resident | None:
        """The loaded or loading model, if it is."""
        return self._residents.get(resident_key(spec, variant))

    @asynccontextmanager
    async def lease(
        self, name: str, wait: float | None = None, *, purpose: Purpose = "text"
    ) -> AsyncIterator[Resident]:
        """A loaded model, in use until the block ends. `wait` bounds the wait for a load, in seconds (None: wait).

        Raises ModelNotFound, ModelNotPulled, PoolFull, QueueFull, ModelLoading, NotEnoughMemory and LoadFailed, and
        WrongModel for one that does not serve the purpose: before a load where models.yaml says so.
        """
        spec, _ = self._choices(name)
        _require(purpose, spec, encodes=spec.encodes)
        resident = await self._loaded(name, wait)
        try:
            _require(purpose, spec, encodes=resident.dimension is not None)
            yield resident
        finally:
            self._leave(resident)

    async def adapter(self, name: str, resident: Resident) -> Adapter | None:
        """The adapter that `name` asks for, as a file for the engine of a leased model; None if it asks for none.

        Raises ModelNotFound, and SignatureRefused where signatures are required.
        """
        asked = ModelName.parse(name).adapter
        if asked is None:
            return None
        found = named(resident.spec.adapters, asked, resident.spec.name)
        path = found.files[cast("AdapterFormat", resident.variant.format)]
        key = self._settings.require_signature
        if key is not None and path not in self._signed:
            artifact = signing.Artifact(Path(path))
            await asyncio.to_thread(signing.require_signed, artifact, key, f"{resident.spec.name}+{asked}")
            self._signed.add(path)
        return Adapter(asked, path, found.scale)

    async def _loaded(self, name: str, wait: float | None) -> Resident:
        """The best variant that loads, with its user counted."""
        deadline = None if wait is None else time.monotonic() + wait
        spec, choices = self._choices(name)
        for choice in choices:
            resident = self._resident(spec, choice)
            self._admit(resident)
            resident.users += 1
            try:
                await self._await_load(resident, deadline)
            except (LoadFailed, NotEnoughMemory) as error:
                self._leave(resident)
                self._failures.setdefault(resident.key, Failures()).note(time.monotonic())
                if choice is choices[-1]:
                    raise
                self._meter.fell_back(spec.name)
                log.warning("%s: %s Trying the next variant.", resident.key, error)
            except BaseException:
                self._leave(resident)
                raise
            else:
                self._failures.pop(resident.key, None)
                return resident
        raise AssertionError("there is always a choice")

    def _leave(self, resident: Resident) -> None:
        resident.users -= 1
        resident.last_used = time.monotonic()

    def _choices(self, name: str) -> tuple[ModelSpec, list[Choice]]:
        """What may serve `name`, best first; what could not be loaded a moment ago comes last."""
        spec, choices = self._chooser.serving(name)
        return spec, sorted(choices, key=lambda choice: self._failed(resident_key(spec, choice.variant)))

    def _failed(self, key: str) -> bool:
        failures = self._failures.get(key)
        return failures is not None and failures.recent(time.monotonic())

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

    def _resident(self, spec: ModelSpec, choice: Choice) -> Resident:
        """The model, loading if it was not here. Not a coroutine: nobody may come between a look and a change."""
        key = resident_key(spec, choice.variant)
        found = self._residents.get(key)
        if found is not None and found.usable:
            return found
        dead = [r for r in self.residents if not r.usable]
        for gone in dead:
            self._meter.unloaded(gone.spec.name, "died")
        if found is not None:
            self._meter.restarted(spec.name, "died")
        # What may refuse comes first: nothing has left the table then.
        full = len(self._residents) - len(dead) >= self._settings.max_models
        evicted = [self._make_room(key)] if full else []
        evicted += [self._residents.pop(r.key) for r in dead]
        resident = self._residents[key] = Resident(spec, choice, partial(self._meter.step, spec.name))
        resident.loading = asyncio.create_task(self._load(resident, evicted), name=f"load {key}")
        resident.loading.add_done_callback(_note_failure)
        return resident

    def _make_room(self, key: str) -> Resident:
        victim = choose_victim(Candidate(r.key, r.users, r.last_used) for r in self.residents if r.usable)
        if victim is None:
            raise PoolFull(
                f"Cannot load {key}: all {len(self._residents)} loaded models are in use. Try again, or raise"
                " CUPOLA_MAX_MODELS.",
                retry_after=5,
            )
        log.info("unloading %s to make room for %s", victim, key)
        evicted = self._residents.pop(victim)
        self._meter.evicted(evicted.spec.name)
        self._meter.unloaded(evicted.spec.name, "budget")
        return evicted

    async def _load(self, resident: Resident, evicted: list[Resident]) -> None:
        """Runs once for all who wait. A failure is told to them and then forgotten: the next request tries again."""
        try:
            for old in evicted:
                await old.close()
            began = time.monotonic()
            await asyncio.to_thread(self._refuse_oversized, resident)
            message = await asyncio.to_thread(self._message, resident)  # may copy files
            await asyncio.to_thread(self._refuse_unsigned, resident, message)
            await resident.load(message, self._settings.load_timeout)
            self._meter.loaded(resident.spec.name, time.monotonic() - began)
            log.info("loaded %s in %.1f s", resident.key, time.monotonic() - began)
        except TimeoutError:
            raise LoadFailed(f"{resident.key} did not load within {self._settings.load_timeout:.0f} s.") from None
        finally:
            if resident.state != "loaded":
                self._meter.load_failed(resident.spec.name)
            if resident.state != "loaded" and self._residents.get(resident.key) is resident:
                del self._residents[resident.key]

    async def _await_load(self, resident: Resident, deadline: float | None) -> None:
        assert resident.loading is not None
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            # The load goes on when one of those who wait for it leaves.
            await asyncio.wait_for(asyncio.shield(resident.loading), wait)
        except TimeoutError:
            raise ModelLoading(
                f"{resident.spec.name} is loading, {resident.progress:.0%} done. Try again shortly.", retry_after=2
            ) from None

    def _refuse_oversized(self, resident: Resident) -> None:
        """Raises NotEnoughMemory: an engine that runs out of it is killed, or takes the device down with it."""
        settings = self._settings
        context = self.context_of(resident.spec, resident.variant)
        needs = self._chooser.sized(resident.spec, resident.choice.candidate, context, settings.slots).needs
        device = resident.choice.device
        free = usable_bytes() if device == "cpu" else self._chooser.facts.device_memory.get(device or "")
        if needs is not None and free is not None and needs > free:
            asked = f"{settings.slots} slots and {context} tokens of context"
            raise NotEnoughMemory(
                f"{resident.key} needs {needs:,} bytes with KV entries for {asked}; {free:,} are free."
                f" Lower CUPOLA_CONTEXT or CUPOLA_SLOTS, or choose a smaller variant: cupola show {resident.spec.name}"
            )

    def _refuse_unsigned(self, resident: Resident, message: Load) -> None:
        """Raises SignatureRefused where signatures are required: looks at the very files that the worker will open."""
        manifest, key = resident.choice.candidate.manifest, self._settings.require_signature
        if key is not None and manifest is not None and message.artifact is not None:
            artifact = signing.stored(self._store.home, manifest, Path(message.artifact))
            signing.require_signed(artifact, key, resident.spec.variant_id(resident.variant))

    def _message(self, resident: Resident) -> Load:
        settings, choice = self._settings, resident.choice
        manifest, measured = choice.candidate.manifest, choice.measurement
        path = self._store.path(manifest) if manifest and manifest.files else None
        placement = Placement(
            threads=settings.threads or (measured.threads if measured else usable_cores()),
            slots=settings.slots,
            spin=measured.spin if measured else True,
            context=self.context_of(resident.spec, choice.variant),
            device=choice.device or "cpu",
            adapters=any(choice.variant.format in adapter.files for adapter in resident.spec.adapters),
        )
        return Load(choice.variant.backend, str(path) if path else None, placement, settings.prefill_ms / 1000)


def _require(purpose: Purpose, spec: ModelSpec, *, encodes: bool) -> None:
    if purpose == "vectors" and not encodes:
        raise WrongModel(f"{spec.name} writes text and makes no embeddings; choose a model for those.", param="model")
    if purpose == "text" and encodes:
        raise WrongModel(f"{spec.name} makes embeddings and writes no text; use /v1/embeddings.", param="model")


def _note_failure(task: asyncio.Task[None]) -> None:
    """A load may fail when nobody waits for it any more; the log is then the only reader."""
    if not task.cancelled() and (error := task.exception()):
        log.warning("%s: %s", task.get_name(), error)
