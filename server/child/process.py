"""The parent's end of a child process, for asyncio."""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from typing import Generic, TypeVar

import msgspec

from ..settings import child_environment
from .channel import HEADER_BYTES, frame, frame_length
from .platform import describe_exit, spawn_options

log = logging.getLogger(__name__)

Incoming = TypeVar("Incoming")
STDERR_LINES = 20


class ChildGone(Exception):
    """The child ended. `reason` says how, for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChildProcess(Generic[Incoming]):
    """A fresh Python interpreter that runs one module of ours; killable, and it dies with us.

    One task receives; any task may send. Sending never blocks: the pipe's buffer grows instead, and what is sent is
    bounded by the requests that were admitted.
    """

    def __init__(self, process: asyncio.subprocess.Process, incoming: type[Incoming], name: str) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.name = name
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._last_words: deque[str] = deque(maxlen=STDERR_LINES)
        self._stderr = asyncio.create_task(self._collect_stderr(process.stderr), name=f"{name} stderr")

    @classmethod
    async def start(cls, module: str, incoming: type[Incoming], *arguments: str, name: str) -> "ChildProcess[Incoming]":
        """Start `python -P -m module`. -P: a folder `server/` where the user stands is never imported."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            env=child_environment(),
            **spawn_options(),
        )
        return cls(process, incoming, name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def send(self, message: msgspec.Struct) -> None:
        """Queue one message. To a child that is gone nothing is sent; its reader learns of the death."""
        if not self._stdin.is_closing():
            self._stdin.write(frame(message))

    async def receive(self) -> Incoming:
        """The next message; ChildGone when the child has ended."""
        try:
            header = await self._stdout.readexactly(HEADER_BYTES)
            return self._decoder.decode(await self._stdout.readexactly(frame_length(header)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildGone(await self._obituary()) from None
        except (ValueError, msgspec.DecodeError) as error:
            self.kill()
            raise ChildGone(f"spoke nonsense ({error})") from None

    def kill(self) -> None:
        """End it at once. Safe to call again, and on a process that has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self, grace: float = 2.0) -> None:
        """Close the pipe, which tells the child to end; kill it if it has not after `grace` seconds."""
        self._stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._stderr

    async def _obituary(self) -> str:
        """How it ended, with the last thing it said. A child that closed its pipe but lives on is killed."""
        try:
            await asyncio.wait_for(self._process.wait(), 1.0)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._stderr
        words = next((line for line in reversed(self._last_words) if line.strip()), "")
        how = describe_exit(self._process.returncode)
        return f"{how} ({words.strip()[:200]})" if words else how

    async def _collect_stderr(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last lines for the obituary, and pass them to the log."""
        while chunk := await stderr.read(1 << 16):
            for line in chunk.decode("utf-8", "replace").splitlines():
                self._last_words.append(line)
                log.debug("%s: %s", self.name, line)
