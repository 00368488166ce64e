"""Responses that are made while nobody waits."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from ...errors import CupolaError, QueueFull
from ..accounting import Account, account
from ..conversation import Turn
from ..schemas.responses_answer import ResponseBody
from .exchange import Exchange, progress
from .store import ResponseStore
from .writer import Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    exchange: Exchange
    writer: Writer
    task: asyncio.Task[None]


class Background:
    """Owns a task for each response that is being made. One that has ended, in whatever way, is in the store."""

    def __init__(self, store: ResponseStore, most: int) -> None:
        self._store = store
        self._most = most
        self._running: dict[str, Running] = {}

    def admit(self) -> None:
        """Raises QueueFull when there is no room for another one."""
        if len(self._running) >= self._most:
            raise QueueFull(f"{self._most} background responses are being made already. Try again shortly.")

    def start(self, exchange: Exchange, turns: AsyncGenerator[Turn]) -> ResponseBody:
        """Make a response from now on. It is queued until the model says its first word."""
        writer = Writer(exchange.draft)
        queued = writer.response
        task = asyncio.create_task(_run(writer, turns), name=f"background {queued.id}")
        self._running[queued.id] = Running(exchange, writer, task)
        opened = account()
        opened.detach()
        # Not the end of `_run`: a task that is cancelled before its first step never runs.
        task.add_done_callback(lambda ended: self._ended(queued.id, ended, opened))
        return queued

    def find(self, response_id: str) -> Running | None:
        return self._running.get(response_id)

    async def cancel(self, response_id: str) -> None:
        """Stop it, if it is being made. It is in the store afterwards."""
        running = self._running.get(response_id)
        if running is not None:
            running.task.cancel()
            await asyncio.wait([running.task])

    async def close(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, response_id: str, task: asyncio.Task[None], opened: Account) -> None:
        running = self._running.pop(response_id)
        if task.cancelled():
            running.writer.cancel()
            opened.cancel()
        elif error := task.exception():
            if not isinstance(error, CupolaError):
                log.error("background response %s", response_id, exc_info=error)
                error = CupolaError("The server met an unforeseen error; its log has the details.")
            running.writer.fail(error)
            opened.error = error.code
        opened.close()
        running.exchange.keep(self._store, running.writer.response)


async def _run(writer: Writer, turns: AsyncGenerator[Turn]) -> None:
    async for _ in progress(writer, turns):
        pass
