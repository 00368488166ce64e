"""The parent's end of a child process, for asyncio."""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar, cast

import msgspec

from ..environment import child_environment
from .channel import HEADER_BYTES, frame, frame_length
from .platform import describe_exit, kill, spawn_options

log = logging.getLogger(__name__)

Incoming = TypeVar("Incoming")
STDERR_LINES = 20
STDOUT, STDERR = 1, 2


class ChildGone(Exception):
    """The child ended. `reason` says how, for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChildProcess(asyncio.SubprocessProtocol, Generic[Incoming]):
    """A fresh Python interpreter that runs one module of ours; killable, and it dies with us.

    Messages are cut from the pipe in the event loop's own callback and handed over there (`listen`), or kept for
    `receive`: waking a task for each message cost a fifth of the server's time at one stream. Sending never blocks: the
    pipe's buffer grows instead, and what is sent is bounded by the requests that were admitted.
    """

    def __init__(self, incoming: type[Incoming], name: str) -> None:
        self.name = name
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._buffer = bytearray()
        self._arrived: asyncio.Queue[Incoming | ChildGone] = asyncio.Queue()
        self._on_message: Callable[[Incoming], None] = self._arrived.put_nowait
        self._on_end: Callable[[ChildGone], None] = self._arrived.put_nowait
        self._last_words: deque[str] = deque(maxlen=STDERR_LINES)
        self._ended = asyncio.Event()
        self._nonsense = ""
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(
        cls,
        module: str,
        incoming: type[Incoming],
        *arguments: str,
        name: str,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> "ChildProcess[Incoming]":
        """Start `python -P -m module`. -P: a folder `server/` where the user stands is never imported.

        `variables`: what its environment says beside what every child's does.
        """
        command = [sys.executable, "-P", "-m", module, *arguments]
        options = {"env": child_environment() | dict(variables), **spawn_options()}
        loop = asyncio.get_running_loop()
        _, child = await loop.subprocess_exec(lambda: cls(incoming, name), *command, **options)
        return child

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and self._transport.get_returncode() is None

    def send(self, message: msgspec.Struct) -> None:
        """Queue one message. To a child that is gone nothing is sent; its reader learns of the death."""
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is not None and not pipe.is_closing():
            pipe.write(frame(message))

    async def receive(self) -> Incoming:
        """The next message; ChildGone when the child has ended. Not to be used after `listen`."""
        message = await self._arrived.get()
        if isinstance(message, ChildGone):
            self._arrived.put_nowait(message)
            raise message
        return message

    def listen(self, on_message: Callable[[Incoming], None], on_end: Callable[[ChildGone], None]) -> None:
        """From now on call `on_message` for each message, and `on_end` once when the child is gone."""
        self._on_message, self._on_end = on_message, on_end
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if isinstance(message, ChildGone):
                on_end(message)
            else:
                on_message(message)

    def kill(self) -> None:
        """End it at once. Safe to call again, and on a process that has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                kill(self._transport)

    async def close(self, grace: float = 2.0) -> None:
        """Close the pipe, which tells the child to end; kill it if it has not after `grace` seconds."""
        pipe = self._transport.get_pipe_transport(0)
        if pipe is not None:
            pipe.close()
        try:
            await asyncio.wait_for(self._ended.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            self._hear(data)
            return
        self._buffer += data
        try:
            self._cut_messages()
        except (ValueError, msgspec.DecodeError) as error:
            self._nonsense = f"it spoke nonsense: {error}"
            self._buffer.clear()
            self.kill()

    def pipe_connection_lost(self, fd: int, _: Exception | None) -> None:
        if fd == STDOUT:
            self.kill()  # a child that closed its pipe has ended, or is of no more use

    def connection_lost(self, _: Exception | None) -> None:
        """The process has ended and every pipe is read to its end."""
        self._transport.close()  # it keeps a handle of the process until it is told
        self._ended.set()
        reason = self._nonsense or describe_exit(self._transport.get_returncode())
        words = next((line.strip() for line in reversed(self._last_words) if line.strip()), "")
        if words and self._transport.get_returncode():
            # For the log only: the words may hold a prompt, and the reason goes to clients.
            log.warning("%s: %s; its last words: %s", self.name, reason, words[:500])
        self._on_end(ChildGone(reason))

    def _cut_messages(self) -> None:
        at = 0
        while len(self._buffer) - at >= HEADER_BYTES:
            begin = at + HEADER_BYTES
            end = begin + frame_length(bytes(self._buffer[at:begin]))
            if len(self._buffer) < end:
                break
            message = self._decoder.decode(self._buffer[begin:end])
            at = end
            self._on_message(message)
        del self._buffer[:at]

    def _hear(self, data: bytes) -> None:
        """Keep the last lines for the log of a death, and pass them to the log."""
        for line in data.decode("utf-8", "replace").splitlines():
            self._last_words.append(line)
            log.debug("%s: %s", self.name, line)
