"""Rows of text as a table: for a terminal, or in Markdown."""

from collections.abc import Iterator, Sequence

Row = Sequence[str]


def aligned(heads: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Columns as wide as their widest cell; what begins with a digit stands to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    right = [all(row[place][:1].isdigit() for row in rows) for place in range(len(heads))]
    for row in (heads, *rows):
        cells = zip(row, widths, right, strict=True)
        yield "  ".join(cell.rjust(width) if ends else cell.ljust(width) for cell, width, ends in cells).rstrip()


def markdown(heads: Row, rows: Sequence[Row]) -> Iterator[str]:
    """As it is pasted into an issue."""
    yield f"| {' | '.join(head.lower() for head in heads)} |"
    yield f"|{'|'.join(' --- ' for _ in heads)}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
