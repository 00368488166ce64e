"""Formats of files: one module each, that yields the rows of a file; chosen by the file's suffix."""

from collections.abc import Callable, Iterator
from pathlib import Path

from server.errors import InvalidValue

from ..row import Row
from . import json_document, json_lines, parquet, separated

READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": json_lines.rows,
    ".ndjson": json_lines.rows,
    ".json": json_document.rows,
    ".csv": separated.rows,
    ".tsv": separated.rows,
    ".parquet": parquet.rows,
}


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises InvalidValue for a file that is not there, is empty, or of no known format."""
    known = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise InvalidValue(f"{path} is a folder; name the files in it.")
    if not path.is_file():
        raise InvalidValue(f"There is no file {path}.")
    if known is None:
        raise InvalidValue(f"{path} has none of the endings that are read: {', '.join(READERS)}.")
    if not path.stat().st_size:
        raise InvalidValue(f"{path} is empty.")
    try:
        yield from known(path)
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror or error}.") from None
