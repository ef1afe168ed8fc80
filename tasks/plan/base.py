"""The version that a build plans from: by reference, and as the rows that the plan looks at."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tasks.table.dataset import TableRef, base_rows, open_version

NO_ROWS = {
    "id": pl.String,
    "content_hash": pl.Binary,
    "row_hash": pl.Binary,
    "duplicate_of": pl.String,
    "duplicate_kind": pl.String,
    "duplicate_score": pl.Float32,
    "rowaddr": pl.UInt64,
}
"""What `base_rows` returns, for a space that has no table yet."""


@dataclass(frozen=True)
class BaseRef:
    """A version of a table, and the vector key of its vectors; None: nothing is published yet."""

    table: TableRef
    version: int | None  # None: there is no table (a dry run makes none)
    vector_key: str | None


@dataclass(frozen=True)
class Base:
    """The version's `rows`: id, content_hash, row_hash, duplicate_of, _kind and _score, rowaddr."""

    version: int
    rows: pl.DataFrame
    vector_key: str | None


def read_base(ref: BaseRef) -> Base:
    """The rows that `ref` names. Raises `VecmillError` where vecmill did not make the table."""
    if ref.version is None:
        return Base(0, pl.DataFrame(schema=NO_ROWS), None)
    rows = base_rows(open_version(ref.table, ref.version))
    return Base(ref.version, rows, ref.vector_key)
