"""Images in parquet: a column of bytes, or of structs with `bytes` as Hugging Face writes them.

    row group ─ pages ─> batches of some MB ─ judge in threads ─> RawBatch

The record's locator is its row and column, by which embed finds the bytes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from tasks.ingest.judged_pictures import (
    Candidate,
    JudgedPicture,
    Unusable,
    decoders,
    judge_all,
    picture_columns,
)
from tasks.ingest.parquet import PARQUET, read_columns
from tasks.ingest.reader import RawBatch, Rejected
from tasks.ingest.tabular import Found, project
from tasks.store.image_bytes import image_bytes, row_locator
from tasks.store.opening import open_uri

BATCH_ROWS = 64
"""Images read at once, at most; fewer where they are large (`tasks.ingest.parquet`)."""


class ImageTableReader:
    """Rows of a parquet file with images."""

    kind = "image"
    suffixes = (".parquet", ".pq")
    many = True
    has_columns = True
    needs = ("key", "image")

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """The file's schema, from its footer."""
        return PARQUET.columns(file, options)

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """Batches of rows; `position` is the row in the file, from 0."""
        with open_uri(file.uri, options) as stream, decoders() as pool:
            for start, batch, problem in read_columns(stream, part, BATCH_ROWS):
                positions = np.arange(start, start + batch.num_rows)
                if problem is not None:
                    yield Found(batch, positions).raw(problem, part.source, batch.num_rows)
                else:
                    yield _judged(batch, part, positions, pool)


def _judged(
    batch: pa.RecordBatch, part: PartSpec, positions: np.ndarray, pool: Executor
) -> RawBatch:
    column = str(part.source.image)
    records = project(batch, part.source)
    try:
        images = image_bytes(batch.column(column))
        candidates = [Candidate("", image.as_py() or b"") for image in images]
    except TypeError as error:
        problem = Unusable(Reason.BAD_VALUE, f"column {column!r}: {error}")
        candidates = [Candidate("", problem=problem)] * batch.num_rows
    judged = judge_all(pool, candidates, part.thumbnails)
    pictures = {i: one for i, one in enumerate(judged) if isinstance(one, JudgedPicture)}
    kept = np.fromiter(pictures, np.int64)
    columns = {name: records.column(name).take(kept) for name in records.schema.names}
    columns |= picture_columns(list(pictures.values()))
    locators = [row_locator(row, column) for row in positions[kept].tolist()]
    columns["locator"] = pa.array(locators, pa.string())
    keys = records.column("key")
    rejects = tuple(
        Rejected(i, one.reason, one.detail, _said_key(keys[i]), int(positions[i]))
        for i, one in enumerate(judged)
        if isinstance(one, Unusable)
    )
    usable = pa.RecordBatch.from_pydict(columns)
    return RawBatch(len(judged), usable, rejects, kept, positions[kept])


def _said_key(key: pa.Scalar) -> str | None:
    """The key of a rejected row, where it has one that can be written."""
    try:
        value = key.as_py()
    except UnicodeDecodeError:
        return None
    return str(value) if isinstance(value, str | int) else None


IMAGE_TABLE = ImageTableReader()
