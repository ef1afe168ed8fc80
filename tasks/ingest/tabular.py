"""From a file's columns to a record's: what every format with columns shares.

`project` renames the columns that a source names (`key`, `text`, `time`, `columns`) to those of a
`RawBatch`. A file without a column that its source names yields no record: each of its rows is a
reject `missing-column`, so that the counts tell how many records the mistake costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from schemas.reasons import Reason
from schemas.spec import SourceSpec
from tasks.ingest.column_types import decoded
from tasks.ingest.reader import RawBatch, Rejected, source_columns
from tasks.ingest.record_checks import shown
from tasks.ingest.record_cutter import MAX_RECORD_BYTES, Block

NAMES_SHOWN = 12
"""Columns of a file that a message lists."""


def column_problem(names: Sequence[str], source: SourceSpec) -> str | None:
    """What is wrong with the columns of a file of that header; None when all are there once.

    For example `no column 'titel' (title? it has: id, title, body)`.
    """
    wanted = source_columns(source)
    doubled = [repr(name) for name in wanted if names.count(name) > 1]
    if doubled:
        return f"column {', '.join(doubled)} stands more than once"
    missing = [name for name in wanted if name not in names]
    if not missing:
        return None
    near = [m for name in missing for m in get_close_matches(name, names, 1)]
    asked = f"{', '.join(near)}? " if near else ""
    listed = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    lost = ", ".join(repr(name) for name in missing)
    return f"no column {lost} ({asked}it has: {listed or 'none'})"


def project(batch: pa.RecordBatch, source: SourceSpec) -> pa.RecordBatch:
    """The columns of a `RawBatch`: key, text_0, text_1…, time and the user's under their names.

    `batch` has every column that the source names.
    """
    columns: dict[str, pa.Array] = {}
    if source.key is not None:
        columns["key"] = batch.column(source.key)
    for i, name in enumerate(source.text):
        columns[f"text_{i}"] = batch.column(name)
    if source.time is not None:
        columns["time"] = batch.column(source.time)
    for column in source.columns:
        columns[column.target] = batch.column(column.name)
    return pa.RecordBatch.from_pydict({name: decoded(array) for name, array in columns.items()})


class FaultError(Exception):
    """One record cannot be read: its reason and what was wrong with it."""

    def __init__(self, reason: Reason, detail: str, key: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.key = key


@dataclass(frozen=True)
class Found:
    """Columns of a file under the file's own names, for the records that could be read."""

    batch: pa.RecordBatch
    positions: np.ndarray  # int64 (n,): line or row in the file
    places: np.ndarray | None = None  # int64 (n,): among all records met; None: 0, 1, 2…

    def raw(
        self,
        problem: str | None,
        source: SourceSpec,
        met: int,
        rejects: tuple[Rejected, ...] = (),
    ) -> RawBatch:
        """The `RawBatch`; with a `problem` of the file's columns, every record a reject."""
        if problem is None:
            records = project(self.batch, source)
            return RawBatch(met, records, rejects, self.places, self.positions)
        keys: list[object] = [None] * self.batch.num_rows
        if source.key is not None and self.batch.schema.names.count(source.key) == 1:
            keys = decoded(self.batch.column(source.key)).to_pylist()
        places = range(len(keys)) if self.places is None else self.places.tolist()
        missing = tuple(
            Rejected(
                place,
                Reason.MISSING_COLUMN,
                problem,
                str(key) if isinstance(key, str | int) else None,
                position,
            )
            for place, key, position in zip(places, keys, self.positions.tolist(), strict=True)
        )
        return RawBatch(met, no_records(), (*rejects, *missing))


def faulty_line(block: Block) -> RawBatch:
    """The batch of one line that the cutter set apart."""
    said = {
        Reason.MALFORMED_LINE: "a quote is not closed, or something follows it",
        Reason.TEXT_TOO_LONG: f"the line is longer than {MAX_RECORD_BYTES} bytes",
    }
    assert block.fault is not None
    detail = f"{said[block.fault]}: {shown(block.data)}"
    return RawBatch(1, no_records(), (Rejected(0, block.fault, detail, position=block.line),))


def no_records() -> pa.RecordBatch:
    """A batch without records, for a `RawBatch` of rejects alone."""
    return pa.RecordBatch.from_pydict({"key": pa.array([], pa.string())})
