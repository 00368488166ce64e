"""The server's end of rendering: a deadline for each template, and the kill that enforces it."""

import asyncio
import contextlib
import hashlib
import itertools
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Any

import msgspec

from ..child.process import ChildGone
from ..errors import TemplateFailed, TemplateTooSlow
from ..settings import Settings
from .children import Children, RenderChild
from .messages import Answer, Hello, Render, Rendered

log = logging.getLogger(__name__)

MAX_CHILDREN = 4
REMEMBERED_TEMPLATES = 256
QUARANTINE_SECONDS = 0.3  # what a request may wait for its turn there, and still be refused within two seconds
LARGE_BYTES = 64 << 10  # of a conversation: no honest template takes long over a smaller one
ORPHAN_SECONDS = 2.0  # beyond the deadline, until a render without a server ends itself


class Standing(Enum):
    """What is known of a template. Large conversations count apart: who sends a slow one harms no others."""

    NEW = auto()  # has never ended: one render at a time, so that a bomb cannot take every child at once
    PROMPT = auto()  # ends in time
    SUSPECT = auto()  # was killed the last time: renders in quarantine until it ends in time again


class Conduct:
    """The standing of one template, and the turn for its first render."""

    def __init__(self) -> None:
        self.standing = Standing.NEW
        self.first = asyncio.Lock()


class Renderer:
    """Renders chat templates in processes that may be killed, so that no template costs another request anything.

    Renders do not wait for a render in progress, up to MAX_CHILDREN of them; beyond it they queue in order. All
    suspects together have one child. Owned by one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._deadline = settings.template_seconds
        self._children = Children(MAX_CHILDREN, str(self._deadline + ORPHAN_SECONDS))
        self._quarantine = asyncio.Lock()
        self._conduct: OrderedDict[tuple[bytes, bool], Conduct] = OrderedDict()
        self._ids = itertools.count()

    @property
    def pids(self) -> list[int]:
        """The render processes there are."""
        return self._children.pids

    async def start(self) -> None:
        """Start the child that is kept warm. Raises Unavailable if it cannot be."""
        self._children.give_back(await self._children.take())

    async def close(self) -> None:
        """End every child. A render in progress fails."""
        await self._children.close()

    async def render(
        self,
        template: str,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        variables: dict[str, Any] | None = None,
        bos_token: str = "",
        eos_token: str = "",
    ) -> str:
        """The conversation as `template` writes it.

        Raises TemplateFailed when the template refuses the conversation, fails, or takes too long; Unavailable when no
        process can be started or `close` was called.
        """
        order = Render(
            next(self._ids), template, messages, bos_token, eos_token, tools, add_generation_prompt, variables or {}
        )
        conduct = self._conduct_of(order)
        if conduct.standing is Standing.NEW:
            async with conduct.first:
                if conduct.standing is Standing.NEW:
                    return await self._judged(order, conduct)
            if conduct.standing is Standing.SUSPECT:  # while we waited
                raise self._too_slow()
        if conduct.standing is Standing.SUSPECT:
            async with self._turn_in_quarantine():
                return await self._judged(order, conduct)
        return await self._judged(order, conduct)

    def _conduct_of(self, order: Render) -> Conduct:
        try:
            size = len(msgspec.msgpack.encode(order))
        except (OverflowError, RecursionError, UnicodeError) as error:
            raise TemplateFailed(f"The conversation cannot be given to a template: {error}", param="messages") from None
        template = order.template.encode()
        key = hashlib.sha256(template).digest(), size - len(template) > LARGE_BYTES
        conduct = self._conduct.setdefault(key, Conduct())
        self._conduct.move_to_end(key)
        if len(self._conduct) > REMEMBERED_TEMPLATES:
            self._conduct.popitem(last=False)
        return conduct

    @contextlib.asynccontextmanager
    async def _turn_in_quarantine(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(QUARANTINE_SECONDS):
                await self._quarantine.acquire()
        except TimeoutError:
            raise TemplateFailed(
                "The chat template took too long before and is just being tried again. Repeat the request.",
                param="messages",
            ) from None
        try:
            yield
        finally:
            self._quarantine.release()

    async def _judged(self, order: Render, conduct: Conduct) -> str:
        """Render, and remember how the template behaved. Its own refusals are good conduct: it ended."""
        try:
            answer = await self._answer(order)
        except TimeoutError:
            conduct.standing = Standing.SUSPECT
            raise self._too_slow() from None
        except ChildGone as gone:
            conduct.standing = Standing.SUSPECT
            log.warning("a chat template ended its process: %s", gone.reason)
            raise TemplateFailed("The chat template ended the process that rendered it.", param="messages") from None
        conduct.standing = Standing.PROMPT
        if isinstance(answer, Rendered):
            return answer.text
        raise TemplateFailed(answer.message, param="messages")

    async def _answer(self, order: Render) -> Answer:
        """Ask a child. Raises TimeoutError past the deadline, ChildGone when the template ended the child.

        As with a kept-alive connection, a child that was warm may have died while it was idle; rendering has no side
        effects, so the order is given once more.
        """
        child = await self._children.take()
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            return await self._exchange(child, order, self._deadline)
        except ChildGone as gone:
            if not child.rested:
                raise
            log.warning("a warm render process is gone: %s", gone.reason)
        left = self._deadline - (clock() - begun)
        return await self._exchange(await self._children.take(), order, left)

    async def _exchange(self, child: RenderChild, order: Render, seconds: float) -> Answer:
        """One order, one answer. A child whose answer was not awaited to the end is of no use to anybody else."""
        answer = None
        try:
            child.process.send(order)
            async with asyncio.timeout(seconds):
                answer = await child.process.receive()
        finally:
            if answer is None:
                self._children.discard(child)
            else:
                self._children.give_back(child)
        assert not isinstance(answer, Hello)
        assert answer.id == order.id
        return answer

    def _too_slow(self) -> TemplateTooSlow:
        return TemplateTooSlow(
            f"The chat template took longer than {self._deadline:g} s and was stopped.", param="messages"
        )
