"""The render processes: one is kept warm, more are started while it is busy."""

import asyncio
import contextlib
import logging
from collections import deque

from ..child.process import ChildGone, ChildProcess
from ..errors import Unavailable
from .messages import FromRenderer

log = logging.getLogger(__name__)

MODULE = "server.chat.render"
START_SECONDS = 20.0
# A render takes about a millisecond and a new interpreter a hundred times as long, so a child is waited for this long
# before another one is started. One starts at a time: a burst is served by the first that is ready.
PATIENCE_SECONDS = 0.02
SHUTTING_DOWN = "The server is shutting down."
CANNOT_START = "The chat template could not be rendered: its process did not start."


class RenderChild:
    """One render process. A `rested` one sat idle before it was taken, so it may have died with nobody looking."""

    def __init__(self, process: ChildProcess[FromRenderer]) -> None:
        self.process = process
        self.rested = False


class Children:
    """At most `limit` render processes, handed out in the order of asking. Who takes one gives it back or discards it.

    Owned by one event loop.
    """

    def __init__(self, limit: int, *arguments: str) -> None:
        self._limit = limit
        self._arguments = arguments
        self._ready: set[RenderChild] = set()  # idle or taken
        self._idle: deque[RenderChild] = deque()
        self._waiters: deque[asyncio.Future[RenderChild]] = deque()
        self._unborn: ChildProcess[FromRenderer] | None = None  # runs, and has not said hello
        self._start: asyncio.Task[None] | None = None
        self._reaping: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        return [child.process.pid for child in self._ready]

    async def take(self) -> RenderChild:
        """A child for the caller alone. Raises Unavailable when none can be started, and after `close`."""
        if self._closed:
            raise Unavailable(SHUTTING_DOWN)
        while self._idle:
            child = self._idle.popleft()
            if child.process.alive:
                return child
            self.discard(child)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[RenderChild] = loop.create_future()
        self._waiters.append(waiter)
        impatience = loop.call_later(PATIENCE_SECONDS if self._ready else 0, self._grow)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self.give_back(waiter.result())  # handed over at the very moment of giving up
            raise
        finally:
            impatience.cancel()
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def give_back(self, child: RenderChild) -> None:
        """To whoever waits longest. One child stays warm; what a burst started beyond it ends."""
        waiter = self._next_waiter()
        if waiter and child.process.alive:
            child.rested = False
            waiter.set_result(child)
        elif self._closed or self._idle or not child.process.alive:
            if waiter:
                self._waiters.appendleft(waiter)
            self.discard(child)
        else:
            child.rested = True
            self._idle.append(child)

    def discard(self, child: RenderChild) -> None:
        """Kill it now, reap it in the background, and have another one ready if it was the last or is waited for."""
        self._ready.discard(child)
        self._end(child.process)
        self._grow()

    async def close(self) -> None:
        """Kill every child, busy or not, and wait until they are gone. Who waits for one gets Unavailable."""
        self._closed = True
        self._fail_waiters(SHUTTING_DOWN)
        if self._unborn:
            self._unborn.kill()
        if self._start:
            await self._start
        self._idle.clear()
        for child in list(self._ready):
            self.discard(child)
        await asyncio.gather(*self._reaping)

    def _grow(self) -> None:
        """Start a child if somebody waits for one or none is left, and there is room."""
        needed = self._waiters or not self._ready
        if needed and not self._start and not self._closed and len(self._ready) < self._limit:
            self._start = asyncio.create_task(self._start_one(), name="start render child")

    async def _start_one(self) -> None:
        child = await self._new_child()
        self._start = None
        if child:
            self._ready.add(child)
            self.give_back(child)
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._grow)  # for who still waits by then
        elif not self._ready:
            self._fail_waiters(CANNOT_START)  # nobody would ever serve them; the next request tries again

    async def _new_child(self) -> RenderChild | None:
        try:
            process = self._unborn = await ChildProcess[FromRenderer].start(
                MODULE,
                FromRenderer,  # type: ignore[arg-type]  # a union of message types
                *self._arguments,
                name="render",
            )
        except OSError as error:
            log.warning("no process for chat templates: %s", error)
            return None
        if self._closed:
            process.kill()
        try:
            async with asyncio.timeout(START_SECONDS):
                await process.receive()
        except (TimeoutError, ChildGone) as error:
            if not self._closed:
                log.warning("a render process did not start: %s", error)
            self._end(process)
            return None
        finally:
            self._unborn = None
        return RenderChild(process)

    def _next_waiter(self) -> asyncio.Future[RenderChild] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _fail_waiters(self, message: str) -> None:
        while waiter := self._next_waiter():
            waiter.set_exception(Unavailable(message))

    def _end(self, process: ChildProcess[FromRenderer]) -> None:
        process.kill()
        reaping = asyncio.create_task(process.close(), name="reap render child")
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)
