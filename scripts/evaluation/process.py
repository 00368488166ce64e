"""A torch checkpoint in a process of its own, whose memory is nobody else's."""

import multiprocessing
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import msgspec

from server.errors import CupolaError

from .answers import Answer, Asked
from .order import Order

GRACE = 5.0  # seconds to end in


class Failure(msgspec.Struct, frozen=True, tag=True):
    """Why it ended: `message` is for the user where `code` is one of CupolaError's, a library's name where missing."""

    code: str
    message: str


class Line(msgspec.Struct, frozen=True, tag=True):
    """Ready, or one answer."""

    answer: Answer | None = None


class Process:
    """A checkpoint that answers from another process. Raises what that raises."""

    def __init__(self, target: str, order: Order) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(target, order, theirs), name="torch", daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        """Wait until it is loaded."""
        try:
            self._receive()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(at_work=kind is not None)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def __call__(self, asked: list[Asked]) -> Iterator[Answer]:
        self._pipe.send_bytes(msgspec.msgpack.encode(asked))
        for _ in asked:
            line = self._receive()
            assert line.answer is not None
            yield line.answer

    def _receive(self) -> Line:
        try:
            said = msgspec.msgpack.decode(self._pipe.recv_bytes(), type=Line | Failure)
        except (EOFError, ConnectionError):
            self._process.join(GRACE)
            raise CupolaError(
                f"PyTorch ended with exit status {self._process.exitcode}; was there enough memory?"
            ) from None
        if isinstance(said, Line):
            return said
        if said.code == "missing":
            raise ModuleNotFoundError(name=said.message)
        raise CupolaError.from_code(said.code, said.message)

    def _end(self, *, at_work: bool = True) -> None:
        """One that waits ends by itself, and gives back what Python would else say that it left."""
        self._pipe.close()
        if not at_work:
            self._process.join(GRACE)
        self._process.terminate()
        self._process.join(GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(target: str, order: Order, pipe: Connection) -> None:
    """Runs in the process: load, say so, then answer what comes until nobody asks."""
    try:
        from .checkpoint import Checkpoint

        loaded = Checkpoint(target, order)
        _send(pipe, Line())
        while True:
            for answer in loaded(msgspec.msgpack.decode(pipe.recv_bytes(), type=list[Asked])):
                _send(pipe, Line(answer))
    except CupolaError as error:
        _fail(pipe, Failure(error.code, error.message))
    except ModuleNotFoundError as error:
        _fail(pipe, Failure("missing", error.name or "torch"))
    except (EOFError, ConnectionError):
        return  # whoever asked has ended


def _send(pipe: Connection, said: Line) -> None:
    pipe.send_bytes(msgspec.msgpack.encode(said))


def _fail(pipe: Connection, said: Failure) -> None:
    with suppress(ConnectionError):
        pipe.send_bytes(msgspec.msgpack.encode(said))
