"""The server's view of its device."""

import asyncio
import time
from pathlib import Path

from .probe import Probe
from .types import System

KEPT_SECONDS = 5.0


class Inventory:
    """Answers any number of askers with one reading at a time; a reading serves for some seconds. Owned by the loop."""

    def __init__(self, home: Path) -> None:
        self._probe = Probe(home)
        self._reading: asyncio.Task[System] | None = None
        self._ended = 0.0

    async def system(self) -> System:
        """This device, at most KEPT_SECONDS ago."""
        if self._reading is None or (self._reading.done() and time.monotonic() - self._ended > KEPT_SECONDS):
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)  # who asked may leave; others wait for the same reading

    async def _read(self) -> System:
        try:
            return await asyncio.to_thread(self._probe.read)
        finally:
            self._ended = time.monotonic()

    async def close(self) -> None:
        """Wait for a reading under way; it is bounded."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
