"""A JSON document: an array of objects, or an object of which one field is such an array."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.errors import InvalidValue

from ..row import Row, row

_SPACE = re.compile(r"\s*")
_OPENING = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*(?=\[\s*\{)')  # {"data": [{
DECODER = json.JSONDecoder()


def rows(path: Path) -> Iterator[Row]:
    """Items with the line each begins in. One at a time: the text is in memory, what it says is not."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{path} is no JSON: byte {error.start} is not UTF-8.") from None
    opening = _OPENING.match(text)
    at = _after_space(text, opening.end() if opening else 0)
    if text[at : at + 1] != "[":
        raise InvalidValue(
            f"{path} is no array of objects; a file with an object a line has to be called {path.stem}.jsonl."
        )
    yield from _items(path, text, at + 1)


def _items(path: Path, text: str, at: int) -> Iterator[Row]:
    line, counted = 1, 0
    at = _after_space(text, at)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        value, at = _value(path, text, at, line)
        yield row(line, value, at / len(text))
        at = _after_space(text, at)
        mark = text[at : at + 1]
        if mark not in {",", "]"}:
            line += text.count("\n", counted, at)
            raise InvalidValue(f"{path}, line {line}: no JSON: a comma or ] is missing.")
        if mark == ",":
            at = _after_space(text, at + 1)


def _value(path: Path, text: str, at: int, line: int) -> tuple[Any, int]:
    try:
        return DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise InvalidValue(f"{path}, line {error.lineno}: no JSON: {error.msg}.") from None
    except RecursionError:
        raise InvalidValue(f"{path}, line {line}: the JSON is nested too deeply.") from None


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
