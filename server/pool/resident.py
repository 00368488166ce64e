"""One model in the pool: its worker, from the start of the load to its end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Literal

import psutil

from ..models.select import Choice
from ..models.spec import BACKENDS, ModelSpec, Variant
from ..runners.base import EncoderInfo, RunnerInfo
from ..types import Delta, Request
from ..worker.client import Worker
from ..worker.messages import Encoded, Load, Ready, StepDone, Tokens

UnloadReason = Literal["idle", "budget", "asked", "reload", "died", "closing"]


def resident_key(spec: ModelSpec, variant: Variant) -> str:
    """What a loaded model is called: its variant, with the engine where that is not the usual one of its format."""
    usual = BACKENDS[variant.format][0]
    return spec.variant_id(variant) + (f" on {variant.backend}" if variant.backend != usual else "")


class Resident:
    """A model that is loading or loaded. The pool is its only owner and counts its users."""

    def __init__(
        self,
        spec: ModelSpec,
        choice: Choice,
        on_step: "Callable[[Resident, StepDone], None]",
        on_death: "Callable[[Resident], None]",
    ) -> None:
        """`on_death` is told when the worker of the loaded model has ended by itself."""
        self.spec = spec
        self.choice = choice
        self.users = 0
        self.last_used = time.monotonic()
        self.loading: asyncio.Task[None] | None = None
        self.needs = 0  # bytes of main memory that are promised to it
        self.placed = False  # it has its place in the table of models, and was promised its memory
        self.load_seconds = 0.0
        self.unload_at: float | None = None  # on the monotonic clock
        self.leaving: UnloadReason | None = None  # no request gets it any more
        self.spins = True
        self.asleep = False  # its KV memory was given back
        self._on_step, self._on_death = on_step, on_death
        self._worker: Worker | None = None
        self._ready: Ready | None = None

    @property
    def variant(self) -> Variant:
        return self.choice.variant

    @property
    def key(self) -> str:
        return resident_key(self.spec, self.variant)

    @property
    def state(self) -> str:
        """For people: loading, loaded, asleep, unloading or dead."""
        if self._ready is None:
            return "loading"
        if not self.usable:
            return "dead"
        if self.leaving:
            return "unloading"
        return "asleep" if self.asleep else "loaded"

    @property
    def loaded(self) -> bool:
        """Whether it can answer at once."""
        return self._ready is not None and self.usable and not self.leaving

    @property
    def usable(self) -> bool:
        """False once the worker has died: the next request needs a new one. A load reports its own death."""
        loading = self.loading is None or not self.loading.done()
        return loading or self._worker is None or self._worker.alive

    @property
    def death(self) -> str:
        """How its worker ended, in a few words of ours: there are not many."""
        return self._worker.death if self._worker else "unknown"

    @property
    def progress(self) -> float:
        """Fraction of the load that is done."""
        return self._worker.progress if self._worker else 0.0

    @property
    def pid(self) -> int | None:
        return self._worker.pid if self._worker else None

    def memory(self) -> int | None:
        """Bytes of main memory that its worker holds now; None where it has none."""
        try:
            return psutil.Process(self.pid).memory_info().rss if self.pid else None
        except psutil.NoSuchProcess:
            return None

    @property
    def ready(self) -> Ready:
        """What the worker said of the loaded model."""
        assert self._ready is not None, "asked before the load was over"
        return self._ready

    @property
    def info(self) -> RunnerInfo:
        """Of a model that writes text."""
        info = self.ready.info
        assert isinstance(info, RunnerInfo), "asked an encoder"
        return info

    @property
    def dimension(self) -> int | None:
        """Numbers of a vector; None for a model that writes text."""
        info = self.ready.info
        return info.dimension if isinstance(info, EncoderInfo) else None

    @property
    def context_length(self) -> int:
        """Tokens that a sequence may have."""
        return self.ready.info.context_length

    async def load(self, load: Load, timeout: float) -> None:
        """Start a worker and load the model; on any error the worker is gone again."""
        began = time.monotonic()
        self.spins = load.placement.spin
        told = partial(self._on_step, self), partial(self._on_death, self)
        self._worker = await Worker.start(self.key, *told, spin=self.spins)
        try:
            async with asyncio.timeout(timeout):
                self._ready = await self._worker.load(load)
                self.load_seconds = time.monotonic() - began
        finally:
            if self._ready is None:
                self._worker.kill()
                await self._worker.close()

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Deltas of a request."""
        assert self._worker is not None
        async with aclosing(self._worker.generate(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def encode(
        self, inputs: list[str | list[int]], limit: int | None = None, *, ranking: bool = False
    ) -> Encoded:
        """Vectors of texts or token ids. Raises InvalidValue, ContextLengthExceeded, EngineFailed and WorkerDied."""
        assert self._worker is not None
        return await self._worker.encode(inputs, limit, ranking=ranking)

    async def tokenise(self, text: str, *, special: bool, leading: bool = True, pieces: bool = False) -> Tokens:
        """Token ids of a text, as this model's tokenizer makes them. Raises InvalidValue."""
        assert self._worker is not None
        return await self._worker.tokenise(text, special=special, leading=leading, pieces=pieces)

    async def detokenise(self, tokens: list[int]) -> str:
        """The text of token ids. Raises InvalidValue."""
        assert self._worker is not None
        return await self._worker.detokenise(tokens)

    def release_cache(self) -> None:
        """Give the KV memory back; the weights stay. An encoder has none."""
        if self.loaded and self.dimension is None:
            assert self._worker is not None
            self._worker.release_cache()
            self.asleep = True

    def set_spin(self, *, spin: bool) -> None:
        """Whether its idle threads burn a core from now on. Nothing is told twice."""
        if spin != self.spins and self.loaded and self.dimension is None:
            assert self._worker is not None
            self._worker.set_spin(spin)
            self.spins = spin

    async def close(self) -> None:
        """Unload: the worker's memory returns to the system."""
        if self.loading is not None and not self.loading.done():
            self.loading.cancel()
            await asyncio.wait([self.loading])
        if self._worker is not None:
            await self._worker.close()
