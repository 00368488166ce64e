"""Pulls that clients asked for. Each model is pulled once, for all who wait for it, and stops when they have left."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from ..errors import PullStopped
from ..models.choice import Chooser
from ..models.manifest import Manifest
from ..models.progress import Progress
from ..models.pulling import pull_best
from ..models.store import Store
from ..settings import Settings

AT_ONCE = 2
STOPPED = "The pull was stopped; ask again, and it goes on where it was."
LOOK_SECONDS = 0.2  # between two looks at how far a pull is


class Pull:
    """One pull. Its thread writes `progress` and `notes`, the event loop all else."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.notes: list[str] = []
        self.users = 0
        self.abandoned = False
        self.future: asyncio.Future[Manifest] | None = None

    def report(self, progress: Progress) -> None:
        """Called by the thread. The one place where a pull can be left without harm: between two pieces of a file."""
        if self.abandoned:
            raise PullStopped(STOPPED)
        self.progress = progress


class Pulls:
    """Owns the threads of all pulls. Used by the event loop only."""

    def __init__(self, settings: Settings, store: Store, chooser: Chooser) -> None:
        self._settings = settings
        self._store = store
        self._chooser = chooser
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull")
        self._running: dict[str, Pull] = {}

    async def pull(self, name: str) -> AsyncGenerator[Progress | str]:
        """How far the pull is, whenever that has changed, and sentences about it, until it has ended.

        Raises ModelNotFound, SourceError and its kinds, and ConversionFailed.
        """
        pull = await self._join(name)
        told: Progress | None = None
        noted = 0
        try:
            assert pull.future is not None
            while True:
                done, _ = await asyncio.wait({pull.future}, timeout=LOOK_SECONDS)
                for note in pull.notes[noted:]:
                    noted += 1
                    yield note
                progress = pull.progress
                if progress is not None and progress != told:
                    told = progress
                    yield progress
                if done:
                    pull.future.result()
                    return
        finally:
            pull.users -= 1
            pull.abandoned = pull.users == 0

    async def close(self) -> None:
        """Stop every pull; what has arrived is kept."""
        running = list(self._running.values())
        for pull in running:
            pull.abandoned = True
        if futures := [pull.future for pull in running if pull.future is not None]:
            await asyncio.wait(futures)
        self._threads.shutdown()

    async def _join(self, name: str) -> Pull:
        """The pull of this model, begun unless it runs already. One that is being left is waited for."""
        spec, choices = self._chooser.ranking(name)
        key = f"{spec.name}@{','.join(sorted({choice.variant.name for choice in choices}))}"
        while (found := self._running.get(key)) is not None and found.abandoned and found.future is not None:
            await asyncio.wait({found.future})
        if found is None:
            found = self._running[key] = self._begin(name, key)
        found.users += 1
        return found

    def _begin(self, name: str, key: str) -> Pull:
        pull = Pull()

        def work() -> Manifest:
            if pull.abandoned:  # before a thread was free
                raise PullStopped(STOPPED)
            return pull_best(self._settings, self._store, self._chooser, name, pull.report, pull.notes.append)

        def ended(future: asyncio.Future[Manifest]) -> None:
            del self._running[key]
            if not future.cancelled():
                future.exception()  # taken, so that nobody is told of it where all have left

        pull.future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        pull.future.add_done_callback(ended)
        return pull
