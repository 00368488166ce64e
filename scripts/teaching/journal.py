"""Answers as they arrive, one JSON object a line: what a killed run leaves, the next one does not ask again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from server.errors import InvalidValue


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one request came to. `failed` says why there is no usable text.

    `seconds` is the request's time, and `at` how long its run had lasted when it ended.
    """

    key: str
    teacher: str
    text: str = ""
    failed: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    run: int = 0
    at: float = 0.0
    unanswered: bool = False


class Journal:
    """Append-only. A line counts when it ends in a newline; an answer is on the disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self.replies: dict[str, Reply] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        try:
            for line in data[:whole].splitlines():
                reply = msgspec.json.decode(line, type=Reply)
                self.replies[reply.key] = reply
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._file.close()
            raise InvalidValue(f"{path} is no journal of answers: {error}. Remove it or choose another name.") from None
        self._file.truncate(whole)  # the rest is a line that a kill tore
        self.run = 1 + max((reply.run for reply in self.replies.values()), default=0)

    def add(self, reply: Reply) -> None:
        """A reply that is `unanswered` is of this run only: the next one asks again."""
        self.replies[reply.key] = reply
        if reply.unanswered:
            return
        self._file.write(msgspec.json.encode(reply) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """The journal, held by this process alone. Raises InvalidValue when another holds it, or it is damaged."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidValue(f"Another process is writing {path}.") from None
    try:
        opened = Journal(path)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        lock.release()
