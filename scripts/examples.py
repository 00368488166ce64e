"""What is learned from and tested on: conversations that end in the answer wanted, one JSON object a line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from server.errors import InvalidValue
from server.models.files import storage_errors, write_atomically

Role = Literal["system", "user", "assistant"]
SPLITS = ("train", "validation", "test")


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Role
    content: str


class Example(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation whose last turn, the assistant's, is the answer; or a plain text, of which all is learned.

    `label` is the class that splits keep even.
    """

    messages: tuple[Turn, ...] = ()
    text: str = ""
    id: str = ""
    label: str | None = None
    meta: dict[str, Any] = {}

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """Everything before the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1].content


def read(path: Path) -> list[Example]:
    """The examples of a file that `prepare-data` wrote. Raises InvalidValue with the number of a line that is none."""
    if not path.is_file():
        raise InvalidValue(f"There is no file {path}. Make it with: python -m scripts prepare-data SOURCE FOLDER")
    decoder = msgspec.json.Decoder(Example)
    found: list[Example] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            example = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidValue(f"{path}, line {number}: {error}.") from None
        complaint = wrong(example)
        if complaint:
            raise InvalidValue(f"{path}, line {number}: {complaint}.")
        found.append(example)
    if not found:
        raise InvalidValue(f"{path} holds no example.")
    return found


def wrong(example: Example) -> str | None:
    """What is wrong with an example, in words; None where nothing is."""
    if example.text and not example.messages:
        return None
    if len(example.messages) < 2 or example.messages[-1].role != "assistant":
        return "the last message has to be the assistant's, after at least one other"
    if not example.answer.strip():
        return "the answer is empty"
    return None


def write(path: Path, examples: Iterable[Example]) -> None:
    """Whole or not at all. Raises StorageFull."""
    encode = msgspec.json.encode
    with storage_errors(path.parent):
        write_atomically(path, b"".join(encode(example) + b"\n" for example in examples).decode())
