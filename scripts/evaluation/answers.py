"""What a target answered, kept as it comes: what a killed run leaves, the next one does not ask again."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from filelock import FileLock, Timeout

from server.errors import InvalidValue

from ..examples import Example
from .order import Order


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One example's. Times are of those only that were asked one by one; `loss` in nats over the answer wanted."""

    key: str
    id: str = ""
    prompt: str = ""  # which, as `prompt_hash` has it
    text: str = ""
    cut: bool = False  # by max_tokens
    tokens: int | None = None
    seconds: float | None = None
    first_seconds: float | None = None
    loss: float | None = None
    loss_tokens: int = 0
    memory: int | None = None  # of no example: the peak of a run, bytes
    setting: str = ""  # that it was given under, as `Order.identity` has it


class Asked(msgspec.Struct, frozen=True):
    """An example to answer and the key of its answer; `timed`: alone, with the time taken."""

    key: str
    example: Example
    timed: bool
    scored: bool  # the loss of the answer wanted is asked for


def prompt_hash(example: Example) -> str:
    """What tells one prompt from another."""
    return hashlib.sha256(msgspec.json.encode(example.prompt)).hexdigest()[:16]


class Answering(Protocol):
    """A target that is ready."""

    def __call__(self, asked: list[Asked]) -> Iterator[Answer]: ...


class Book:
    """Append-only. A line counts when it ends in a newline, and is on the disk when `add` returns."""

    def __init__(self, path: Path | None) -> None:
        self.answers: dict[str, Answer] = {}
        self._file = None if path is None else path.open("a+b")
        if path is None or self._file is None:
            return
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)  # the rest is a line that a kill tore
        try:
            for line in data[:whole].splitlines():
                self._keep(msgspec.json.decode(line, type=Answer))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._file.close()
            raise InvalidValue(f"{path} holds no answers: {error}. Remove it or choose another folder.") from None

    def add(self, answer: Answer) -> None:
        self._keep(answer)
        if self._file is not None:
            self._file.write(msgspec.json.encode(answer) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _keep(self, answer: Answer) -> None:
        before = self.answers.get(answer.key)
        if before is None or before.memory is None or (answer.memory or 0) > before.memory:
            self.answers[answer.key] = answer


@contextmanager
def book(folder: Path | None, target: str) -> Iterator[Book]:
    """The answers of a target, held by this process alone; without a folder they are forgotten."""
    if folder is None:
        yield Book(None)
        return
    path = folder / f"answers-{file_name(target)}.jsonl"
    lock = FileLock(folder / f".{path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidValue(f"Another process is writing {path}.") from None
    try:
        opened = Book(path)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        lock.release()


def file_name(target: str) -> str:
    """A target as part of a file's name; two targets have two."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"^https?://", "", target)).strip("-.")[-80:]
    return f"{words}-{hashlib.sha256(target.encode()).hexdigest()[:6]}"


def questions(examples: list[Example], order: Order, identity: str) -> list[Asked]:
    """The same examples are timed for every target: evenly spread ones, so that no order of the file matters."""
    count = min(order.timed, len(examples))
    timed = {round(place * len(examples) / count) for place in range(count)} if count else set()
    scored = "perplexity" in order.metrics
    made = []
    for number, example in enumerate(examples):
        said = msgspec.json.encode((example.messages, number in timed, scored))
        key = hashlib.sha256(identity.encode() + said).hexdigest()[:24]
        made.append(Asked(key, example, number in timed, scored))
    return made
