"""Text sources in parquet: streamed page by page, so that the size of the file does not matter.

    row group ─ pages ─> batches of ≤ 1,024 rows ─ project ─> RawBatch

A read buffer is set because pyarrow otherwise holds the whole column chunk of a row group, and
there are files with one row group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.refs import FileRef, PartSpec
from tasks.ingest.reader import RawBatch, UnreadableError, source_columns
from tasks.ingest.tabular import Found, column_problem
from tasks.store.opening import open_uri

BATCH_ROWS = 1_024
"""Rows read at once, at most."""

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of values read at once, by the file's own average row: long documents come in few rows."""

READ_BUFFER = 1024 * 1024
"""Bytes of a column chunk held while its pages are read."""


class ParquetReader:
    """Rows of a parquet file."""

    kind = "text"
    suffixes = (".parquet", ".pq")
    many = True
    has_columns = True
    needs = ("key", "text")

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """The file's schema, from its footer."""
        with open_uri(file.uri, options) as stream:
            return _open(stream).schema_arrow

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """Batches of rows; `position` is the row in the file, from 0."""
        with open_uri(file.uri, options) as stream:
            for start, batch, problem in read_columns(stream, part):
                found = Found(batch, np.arange(start, start + batch.num_rows))
                yield found.raw(problem, part.source, batch.num_rows)


def read_columns(
    stream: Any, part: PartSpec, rows: int = BATCH_ROWS
) -> Iterator[tuple[int, pa.RecordBatch, str | None]]:
    """Each batch's first row, its columns that the source names, and what is wrong with them.

    Where the file lacks a column the batches carry the key alone, if there is one.
    Raises `UnreadableError` where the file breaks off.
    """
    parquet = _open(stream)
    names = parquet.schema_arrow.names
    problem = column_problem(names, part.source)
    wanted = [name for name in source_columns(part.source) if names.count(name) == 1]
    if problem is not None:
        wanted = [name for name in wanted if name == part.source.key]
    rows = min(rows, _affordable_rows(parquet.metadata, wanted))
    start = 0
    batches = _batches(parquet, wanted, rows)
    while (batch := _next(batches)) is not None:
        yield start, batch, problem
        start += batch.num_rows


def _batches(parquet: pq.ParquetFile, wanted: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """The file's batches; without any wanted column, batches that only count rows."""
    if wanted:
        for group in range(parquet.num_row_groups):  # a batch over two would fall with the second
            yield from parquet.iter_batches(rows, [group], wanted, use_threads=False)
        return
    left = parquet.metadata.num_rows
    while left > 0:
        count = min(rows, left)
        yield pa.RecordBatch.from_pydict({"": pa.nulls(count)})
        left -= count


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"not readable as parquet from here on: {error}") from error


def _open(stream: Any) -> pq.ParquetFile:
    """The open file; no dictionary is kept from the writer's Arrow schema."""
    try:
        return pq.ParquetFile(stream, buffer_size=READ_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"not a parquet file: {error}") from error


def _affordable_rows(metadata: pq.FileMetaData, wanted: list[str]) -> int:
    """How many rows of the widest row group's average make `BATCH_BYTES`."""
    widest = 1.0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        columns = [group.column(c) for c in range(group.num_columns)]
        size = sum(
            column.total_uncompressed_size
            for column in columns
            if column.path_in_schema in wanted or column.path_in_schema.split(".")[0] in wanted
        )
        widest = max(widest, size / max(group.num_rows, 1))
    return max(1, int(BATCH_BYTES / widest))


PARQUET = ParquetReader()
