"""Parquet: columns are fields."""

from collections.abc import Iterator
from pathlib import Path

from server.errors import InvalidValue

from ..row import Row, row

BATCH = 64  # rows in memory at once
LARGEST = 256 << 20  # bytes of them: a few kilobytes on the disk can stand for any number


def rows(path: Path) -> Iterator[Row]:
    """`number` counts rows from 1."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            total = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=BATCH):
                if batch.nbytes > LARGEST:
                    raise InvalidValue(f"{path}: {BATCH} rows from {number + 1} on take {batch.nbytes >> 20} MB.")
                for value in batch.to_pylist():
                    number += 1
                    yield row(number, value, number / total)
    except pyarrow.ArrowException as error:
        raise InvalidValue(f"{path} is no Parquet that can be read: {' '.join(str(error).split())}.") from None
