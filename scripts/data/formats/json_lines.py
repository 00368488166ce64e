"""JSON lines: an object a line."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..row import Bad, Row, row

BOM = b"\xef\xbb\xbf"


def rows(path: Path) -> Iterator[Row]:
    """Blank lines are none; one that is no JSON is bad, and the next is read."""
    size, read = path.stat().st_size, 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            read += len(line)
            text = (line.removeprefix(BOM) if number == 1 else line).strip()
            if not text:
                continue
            try:
                value = msgspec.json.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Row(number, Bad("not JSON", f"not JSON: {error}"), read / size)
                continue
            yield row(number, value, read / size)
