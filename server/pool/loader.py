"""One load, from the choice of a variant to a worker that is ready: what may refuse it, and what the worker is told."""

import asyncio
import logging
from pathlib import Path

from ..errors import LoadFailed, NotEnoughMemory
from ..hardware.cpu import usable_cores
from ..models import signing
from ..models.choice import Chooser
from ..models.spec import ModelSpec, Variant
from ..models.store import Store
from ..runners.base import Placement
from ..settings import Settings
from ..worker.messages import Load
from .resident import Resident

log = logging.getLogger(__name__)

# What a worker holds beside weights and KV entries: interpreter, libraries, arenas. Measured: 75 MB with llama.cpp, 90
# with GenAI, 122 with ONNX Runtime.
OVERHEAD = 128 << 20


class Loader:
    """Loads residents. What is slow, such as reading headers and hashes, happens in threads."""

    def __init__(self, settings: Settings, chooser: Chooser, store: Store) -> None:
        self._settings, self._chooser, self._store = settings, chooser, store

    def context_of(self, spec: ModelSpec, variant: Variant) -> int:
        """Tokens a sequence of this variant may have, before an engine has said so."""
        return min(variant.context_length or spec.context_length, self._settings.context)

    async def estimate(self, resident: Resident) -> int:
        """Bytes of main memory that its worker will take, by its header; 0 for one whose place is a device of its own.

        Raises NotEnoughMemory for a device that has not as much.
        """
        needs = await asyncio.to_thread(self._sized, resident)
        device = resident.choice.device or "cpu"
        if device == "cpu":
            return needs + OVERHEAD if needs else 0
        free = self._chooser.facts.device_memory.get(device)
        if free is not None and needs > free:
            raise NotEnoughMemory(
                f"{self.asked(resident, needs)}; {free:,} are free on {device}. {self.advice(resident)}"
            )
        return 0

    def asked(self, resident: Resident, needs: int) -> str:
        """What it needs, in words."""
        context = self.context_of(resident.spec, resident.variant)
        entries = f"KV entries for {self._settings.slots} slots and {context} tokens of context"
        return f"{resident.key} needs {needs:,} bytes with {entries}"

    def advice(self, resident: Resident) -> str:
        return f"Lower CUPOLA_CONTEXT or CUPOLA_SLOTS, or choose a smaller variant: cupola show {resident.spec.name}"

    async def load(self, resident: Resident, *, spin: bool) -> None:
        """Start the worker and load the model. Raises LoadFailed; SignatureRefused where signatures are required."""
        message = await asyncio.to_thread(self._message, resident, spin)  # may copy files
        await asyncio.to_thread(self._refuse_unsigned, resident, message)
        try:
            await resident.load(message, self._settings.load_timeout)
        except TimeoutError:
            raise LoadFailed(f"{resident.key} did not load within {self._settings.load_timeout:.0f} s.") from None
        except OSError as error:
            raise LoadFailed(f"No process for {resident.key} could be started: {error.strerror}.") from None
        log.info("loaded %s in %.1f s", resident.key, resident.load_seconds)

    def _sized(self, resident: Resident) -> int:
        context = self.context_of(resident.spec, resident.variant)
        return self._chooser.sized(resident.spec, resident.choice.candidate, context, self._settings.slots).needs or 0

    def _refuse_unsigned(self, resident: Resident, message: Load) -> None:
        """Looks at the very files that the worker will open."""
        manifest, key = resident.choice.candidate.manifest, self._settings.require_signature
        if key is not None and manifest is not None and message.artifact is not None:
            artifact = signing.stored(self._store.home, manifest, Path(message.artifact))
            signing.require_signed(artifact, key, resident.spec.variant_id(resident.variant))

    def _message(self, resident: Resident, spin: bool) -> Load:
        settings, choice = self._settings, resident.choice
        manifest, measured = choice.candidate.manifest, choice.measurement
        path = self._store.path(manifest) if manifest and manifest.files else None
        placement = Placement(
            threads=settings.threads or (measured.threads if measured else usable_cores()),
            slots=settings.slots,
            spin=spin and (measured.spin if measured else True),
            context=self.context_of(resident.spec, choice.variant),
            device=choice.device or "cpu",
            adapters=any(choice.variant.format in adapter.files for adapter in resident.spec.adapters),
        )
        return Load(choice.variant.backend, str(path) if path else None, placement, settings.prefill_ms / 1000)
