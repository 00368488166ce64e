"""CSV, and TSV: names of fields in the first line, then a line each."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from server.errors import InvalidValue

from ..row import Bad, Row

SEPARATORS = ",;\t|"


def rows(path: Path) -> Iterator[Row]:
    """The separator is the one that the first line has most of. `number` is the line that a row ends in."""
    size = path.stat().st_size
    with (
        path.open("rb") as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream,
    ):
        first = stream.readline(1 << 20)
        stream.seek(0)
        reader = csv.reader(stream, delimiter=max(SEPARATORS, key=first.count))
        try:
            names = next(reader)
        except csv.Error as error:
            raise InvalidValue(f"{path}, line 1: no CSV: {error}.") from None
        if len(set(names)) < len(names):
            raise InvalidValue(f"{path}, line 1: a field is named twice: {', '.join(names)}.")
        while True:
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield Row(reader.line_num, Bad("not CSV", f"not CSV: {error}"), file.tell() / size)
                continue
            if values is None:
                return
            if values:
                yield Row(reader.line_num, _fields(names, values), file.tell() / size)


def _fields(names: list[str], values: list[str]) -> dict[str, str] | Bad:
    if len(values) != len(names):
        return Bad("wrong number of columns", f"{len(values)} columns where the first line has {len(names)}")
    return dict(zip(names, values, strict=True))
