"""JSON lines: an object a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from ..row import Bad, Row, row

BOM = b"\xef\xbb\xbf"
LONGEST = 16 << 20  # bytes of a line


def rows(path: Path) -> Iterator[Row]:
    """Blank lines are none; one that is no JSON is bad, and the next is read."""
    size, read = path.stat().st_size, 0
    with path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST), b""), start=1):
            read += len(line)
            if len(line) == LONGEST and not line.endswith(b"\n"):
                read += _skipped(stream)
                yield Row(number, Bad("too long", f"more than {LONGEST >> 20} MB"), read / size)
                continue
            text = (line.removeprefix(BOM) if number == 1 else line).strip()
            if not text:
                continue
            try:
                value = msgspec.json.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Row(number, Bad("not JSON", f"not JSON: {error}"), read / size)
                continue
            yield row(number, value, read / size)


def _skipped(stream: IO[bytes]) -> int:
    """Bytes of the rest of a line, which are not kept."""
    count = 0
    while part := stream.readline(LONGEST):
        count += len(part)
        if part.endswith(b"\n"):
            break
    return count
