"""Examples that are kept: their lines on the disk, and in memory what is decided by."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ..examples import Example
from .lengths import Length

DIGEST = 16  # bytes


class Store:
    """Numbered from 0 as they are added. Per example about 200 bytes are in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._starts = array("Q", [0])
        self.given: list[str | None] = []  # the split, of an example that came with it
        self.labels: list[str | None] = []
        self.keys: list[bytes] = []  # decides the split: of the prompt, or of the group
        self.whole = array("L")
        self.answer = array("L")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink()

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, example: Example, key: bytes, given: str | None, length: Length) -> int:
        line = msgspec.json.encode(example) + b"\n"
        self._file.seek(0, 2)
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self.given.append(given)
        self.labels.append(example.label)
        self.keys.append(key)
        self.whole.append(length.whole)
        self.answer.append(length.answer)
        return len(self.keys) - 1

    def example(self, number: int) -> Example:
        self._file.seek(self._starts[number])
        return msgspec.json.decode(self._file.read(self._starts[number + 1] - self._starts[number]), type=Example)

    def lines(self) -> Iterator[bytes]:
        """All of them, in order, each with its newline."""
        self._file.seek(0)
        for start, end in zip(self._starts, self._starts[1:], strict=False):
            yield self._file.read(end - start)


def asked(example: Example) -> str:
    """What the model has to answer, without the system's message, which many examples share."""
    return (
        "\n".join(turn.content for turn in example.prompt if turn.role != "system")
        if example.messages
        else example.text
    )


def digest(*parts: str) -> bytes:
    return blake2b(msgspec.json.encode(parts), digest_size=DIGEST).digest()


def key_of(text: str) -> bytes:
    """The same for texts that differ in case and white space only."""
    return digest(" ".join(text.casefold().split()))


def identity(example: Example) -> bytes:
    """The same for exact duplicates."""
    return digest(
        example.text, *(part for turn in example.messages for part in (turn.role, turn.content)), example.label or ""
    )
