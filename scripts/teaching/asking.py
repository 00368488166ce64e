"""Questions that the journal has no answer to are sent, several at once, and the answers kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import httpx

from server.errors import CupolaError
from server.settings import load_settings

from ..chat_client import Failed
from ..reporting import Reporter
from .client import Question, ask
from .journal import Journal, Reply
from .order import OWN, Order, Teacher
from .own_server import own_server

SILENCE = 20  # questions in a row without an answer, each tried several times, after which a teacher is given up


class Asking:
    """One run's requests. Servers of our own start when something is to be asked of them, and end with the block."""

    def __init__(self, order: Order, kept: Journal, reporter: Reporter) -> None:
        self.sent = 0
        self._order, self._kept, self._reporter = order, kept, reporter
        self._started = time.monotonic()
        self._servers = ExitStack()
        self._urls: dict[str, str] = {}
        self._headers: dict[str, dict[str, str]] = {}
        self._silent: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._servers.close()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    def all(self, questions: Sequence[Question], doing: str) -> list[Reply]:
        """A reply to each question, from the journal where it is there.

        Raises CupolaError when a teacher refuses, answers nothing for long, or does not start.
        """
        missing = list({q.key: q for q in questions if q.key not in self._kept.replies}.values())
        for teacher in {q.teacher.at: q.teacher for q in missing}.values():
            self._prepare(teacher)
        if missing:
            try:
                asyncio.run(self._send(missing, doing))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
        return [self._kept.replies[q.key] for q in questions]

    def _prepare(self, teacher: Teacher) -> None:
        if teacher.at in self._urls:
            return
        self._headers[teacher.at] = self._order.headers(teacher)
        self._urls[teacher.at] = teacher.url
        if teacher.url == OWN:
            served = own_server(teacher.model, load_settings().home)
            self._urls[teacher.at], self._headers[teacher.at] = self._servers.enter_context(served)

    async def _send(self, questions: list[Question], doing: str) -> None:
        waiting, done = iter(questions), 0

        async def work(client: httpx.AsyncClient) -> None:
            nonlocal done
            for question in waiting:
                await self._one(client, question)
                done += 1
                self._reporter.step(done / len(questions), doing)

        async with (
            httpx.AsyncClient(trust_env=False, timeout=None) as client,  # noqa: S113  # the order's deadline holds
            asyncio.TaskGroup() as group,
        ):
            for _ in range(min(self._order.concurrency, len(questions))):
                group.create_task(work(client))

    async def _one(self, client: httpx.AsyncClient, q: Question) -> None:
        self.sent += 1
        try:
            got = await ask(client, self._urls[q.teacher.at], q, self._order, self._headers[q.teacher.at])
        except Failed as error:
            run, at = self._kept.run, round(self.seconds, 3)
            reply = Reply(q.key, q.teacher.at, failed=str(error), run=run, at=at, unanswered=not error.lasting)
            self._kept.add(reply)
            self._silent[q.teacher.at] += not error.lasting
            if self._silent[q.teacher.at] >= SILENCE:
                raise CupolaError(
                    f"The teacher {q.teacher.at} answered none of {SILENCE} requests in a row ({error})."
                    " What it answered before is kept; run the command again to go on."
                ) from None
            return
        self._silent[q.teacher.at] = 0
        reply = Reply(
            q.key,
            q.teacher.at,
            got.text,
            "cut at max_tokens" if got.cut else "",
            got.prompt_tokens,
            got.completion_tokens,
            round(got.seconds, 3),
            self._kept.run,
            round(self.seconds, 3),
        )
        self._kept.add(reply)
