"""The contents of a shard: a slice of the plan's `contents` file, with what the items files hold.

contents[offset : offset + length] ─ by items file ─ only the row groups needed → texts, places
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.refs import Shard


def read_contents(shard: Shard) -> pa.Table:
    """The shard's rows of its contents file: `length` rows of `CONTENTS`."""
    return read_rows(shard.contents, np.arange(shard.offset, shard.offset + shard.length))


def read_items(contents: pa.Table, columns: Sequence[str]) -> pa.Table:
    """`columns` of the items that `contents` name (part, row): one row for each, in order."""
    parts = contents.column("part")
    rows = contents.column("row").to_numpy()
    tables, places = [], []
    for part in pc.unique(parts).to_pylist():
        here = np.flatnonzero(pc.equal(parts, part).to_numpy())
        tables.append(read_rows(part, rows[here], columns))
        places.append(here)
    if not tables:
        return contents.select([])
    back = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(tables).take(back)


def read_rows(path: str, rows: np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows at int64 positions `rows` of a parquet file, reading only their row groups.

    One row group after the other: a shard whose rows lie scattered holds no more than its own.
    """
    wanted = list(columns) if columns else None
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        groups = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(groups, kind="stable")
        found = [
            file.read_row_group(int(groups[here[0]]), columns=wanted).take(
                rows[here] - starts[groups[here[0]]]
            )
            for here in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
            if len(here)
        ]
        if not found:  # asked for no row group, pyarrow 26 may crash
            nothing = file.schema_arrow.empty_table()
            return nothing if wanted is None else nothing.select(wanted)
    return pa.concat_tables(found).take(np.argsort(order, kind="stable"))
