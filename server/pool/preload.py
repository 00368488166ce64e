"""Models that are loaded when the server starts, so that nobody waits for them later."""

import asyncio
import logging

from ..errors import CupolaError
from .pool import Pool

log = logging.getLogger(__name__)


class Preloads:
    """Loads in the background. A model that cannot be loaded is logged; requests for it get the error themselves."""

    def __init__(self, pool: Pool, names: tuple[str, ...]) -> None:
        self._pool = pool
        self._names = names
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> bool:
        return any(not task.done() for task in self._tasks)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._load(name), name=f"preload {name}") for name in self._names]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load(self, name: str) -> None:
        try:
            async with self._pool.lease(name, purpose="any"):
                pass
        except CupolaError as error:
            log.warning("cannot preload %s: %s", name, error)
