"""Reading a parquet file batch by batch, so that the number of its row groups does not matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_batches(
    path: str | Path, rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows in order, none over the border of two row groups.

    Asked for all row groups at once, pyarrow 26 begins each of them: 2 MB each, of ids and hashes.
    """
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, [group], list(columns) if columns else None)
