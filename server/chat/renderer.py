"""The server's end of rendering: warm render processes, a deadline for each template, and the kill that enforces it."""

import asyncio
import hashlib
import itertools
import logging
from collections import deque
from contextlib import suppress
from typing import Any

from ..child.process import ChildGone, ChildProcess
from ..errors import TemplateFailed
from ..settings import Settings
from .messages import FromRenderer, Hello, Render, Rendered, RenderFailed

log = logging.getLogger(__name__)

MAX_CHILDREN = 4
START_SECONDS = 20.0
REMEMBERED_BOMBS = 256

Child = ChildProcess[FromRenderer]


class Renderer:
    """One child is kept warm; while it is busy others are started, so that no render waits for another.

    A template that last ran past its deadline is taken for a bomb: bombs render one at a time, and so never hold more
    than one child. FIFO beyond MAX_CHILDREN.
    """

    def __init__(self, settings: Settings) -> None:
        self._deadline = settings.template_seconds
        self._idle: deque[Child] = deque()
        self._places = asyncio.Semaphore(MAX_CHILDREN)
        self._quarantine = asyncio.Lock()
        self._bombs: deque[bytes] = deque(maxlen=REMEMBERED_BOMBS)
        self._ids = itertools.count()
        self._ends: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the warm child."""
        self._idle.append(await self._new_child())

    async def close(self) -> None:
        """End every child that is not rendering; those that are end with their render."""
        while self._idle:
            self._end(self._idle.popleft())
        await asyncio.gather(*self._ends)

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
        """The conversation as `template` writes it. Raises TemplateFailed."""
        order = Render(
            next(self._ids), template, messages, bos_token, eos_token, tools, add_generation_prompt, variables or {}
        )
        key = hashlib.sha256(template.encode("utf-8", "replace")).digest()
        if key not in self._bombs:
            return await self._render(order, key)
        try:
            await asyncio.wait_for(self._quarantine.acquire(), self._deadline / 2)
        except TimeoutError:
            raise TemplateFailed("This chat template was too slow before, and is being tried again now.") from None
        try:
            text = await self._render(order, key)
        finally:
            self._quarantine.release()
        with suppress(ValueError):
            self._bombs.remove(key)  # the machine was busy, then: not a bomb
        return text

    async def _render(self, order: Render, key: bytes) -> str:
        async with self._places:
            child = await self._take()
            try:
                answer = await self._ask(child, order, key)
            except BaseException:  # a cancelled render too leaves a child in the middle of something
                self._end(child)
                raise
            self._give_back(child)
        if isinstance(answer, RenderFailed):
            raise TemplateFailed(answer.message, param="messages")
        assert isinstance(answer, Rendered)
        return answer.text

    async def _ask(self, child: Child, order: Render, key: bytes) -> FromRenderer:
        try:
            async with asyncio.timeout(self._deadline):
                child.send(order)
                return await child.receive()
        except TimeoutError:
            if key not in self._bombs:
                self._bombs.append(key)
            raise TemplateFailed(
                f"The chat template took longer than {self._deadline:g} s and was stopped.", param="messages"
            ) from None
        except ChildGone as gone:
            raise TemplateFailed(f"The chat template ended its process ({gone.reason}).", param="messages") from None

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.popleft()
            if child.alive:
                return child
            self._end(child)
        return await self._new_child()

    def _give_back(self, child: Child) -> None:
        """One child stays warm; what a burst started beyond it ends."""
        if self._idle:
            self._end(child)
        else:
            self._idle.append(child)

    async def _new_child(self) -> Child:
        child = await Child.start("server.chat.render", FromRenderer, name="render")  # type: ignore[arg-type]  # a union
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await child.receive()
        except (TimeoutError, ChildGone) as error:
            self._end(child)
            raise TemplateFailed(f"The render process did not start: {error}.") from None
        except asyncio.CancelledError:
            self._end(child)
            raise
        assert isinstance(hello, Hello)
        return child

    def _end(self, child: Child) -> None:
        """Kill it now, reap it in the background."""
        child.kill()
        task = asyncio.create_task(self._reap(child))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _reap(self, child: Child) -> None:
        with suppress(ConnectionError):
            await child.close()
