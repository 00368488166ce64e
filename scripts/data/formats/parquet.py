"""Parquet: columns are fields."""

from collections.abc import Iterator
from pathlib import Path

from server.errors import InvalidValue

from ..row import Row, row

BATCH = 1000  # rows in memory at once


def rows(path: Path) -> Iterator[Row]:
    """`number` counts rows from 1."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            total = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield row(number, value, number / total)
    except pyarrow.ArrowException as error:
        raise InvalidValue(f"{path} is no Parquet that can be read: {' '.join(str(error).split())}.") from None
