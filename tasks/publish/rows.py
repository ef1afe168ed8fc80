"""The rows that a build writes: plan + items files + vectors → record batches of the table.

windows of the plan     classes that are written, with the place of each one's vector
└ staged_rows           items file by items file, a few thousand rows at a time
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import TABLE_NAMES
from schemas.errors import VecmillError
from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef, PlanRef
from tasks.geometry.fit import Fit
from tasks.store.batches import read_batches
from tasks.store.vectors import release_vectors, vector_index
from tasks.store.workdir import Store
from tasks.table.item_vectors import item_vectors, located

WRITTEN = ["new", "changed", "metadata_only", "rejudged"]
"""Classes whose rows are written; on an overwrite the unchanged ones are, too."""

REPLACED = ["changed", "metadata_only", "rejudged", "removed"]
"""Classes whose rows in the base go."""

BATCH_ROWS = 4_096
"""Rows in memory at a time: 13 MB of float32 vectors at 768 dimensions."""

PLAN_ROWS = 16_384
"""Rows of the plan that are read together: some 2 MB."""

WINDOW_BYTES = 32 << 20
"""Vectors looked up together. Rows in another order than their vectors need many files each: the
fewer look-ups, the fewer times each file is read (1 M shuffled rows × 128: 16 windows)."""

FITTED = frozenset({"cluster", "x", "y"})
FROM_PLAN = frozenset({"duplicate_of", "duplicate_kind", "duplicate_score"})
"""Columns of the contract that do not come from the items file."""


def written_count(plan: PlanRef) -> int:
    """How many rows the plan writes."""
    names = [*WRITTEN, "unchanged"] if plan.overwrite else WRITTEN
    return sum(plan.classes.get(name, 0) for name in names)


def replaced_rows(plan: PlanRef) -> np.ndarray:
    """Addresses (uint64) of the base's rows that leave or are written again."""
    rows = pl.scan_parquet(plan.path).filter(
        pl.col("class").is_in(REPLACED) & pl.col("rowaddr").is_not_null()
    )
    return rows.select("rowaddr").collect()["rowaddr"].to_numpy()


def staged_rows(
    plan: PlanRef,
    embedder: EmbedderRef,
    store: Store,
    base_dataset: Any | None,
    schema: pa.Schema,
    fit: Fit | None = None,
    progress: Progress = SILENT,
) -> Iterator[pa.RecordBatch]:
    """Batches of `schema` (the table's), one row for each row that the plan writes.

    Clusters and places are those of `fit`; None: rows have none. A vector comes from the `workdir`
    by content hash, else from the base row that the plan names. Raises `VecmillError` where a row
    has neither, or an items file lacks a column.
    """
    index = vector_index(store, embedder.vector_key)
    try:
        for window in _windows(plan, _window_rows(embedder.dimensions)):
            places = located(window, index)
            for (part,), rows in places.partition_by(
                "part", as_dict=True, include_key=False, maintain_order=True
            ).items():
                chosen = rows.sort("row")
                vectors, done = item_vectors(chosen, embedder.dimensions, base_dataset), 0
                for batch, wanted in _chosen_batches(str(part), chosen):
                    size = batch.num_rows
                    found = vectors[done : done + size]
                    yield _table_batch(batch, wanted, found, schema, fit, str(part))
                    progress.advance(size)
                    done += size
    finally:
        release_vectors()


def _window_rows(dimensions: int) -> int:
    return max(BATCH_ROWS, WINDOW_BYTES // (4 * dimensions))


def _windows(plan: PlanRef, rows: int) -> Iterator[pl.DataFrame]:
    """The written rows of the plan in its order, at most `rows` at a time."""
    names = [*WRITTEN, "unchanged"] if plan.overwrite else WRITTEN
    columns = ["id", "class", "content_hash", "part", "row", *sorted(FROM_PLAN), "vector_rowaddr"]
    held, size = [], 0
    for batch in read_batches(plan.path, min(rows, PLAN_ROWS), columns):
        some = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("class").is_in(names))
        lost = some.filter(pl.col("part").is_null() | pl.col("row").is_null())
        if lost.height:
            raise VecmillError(
                f"the plan {plan.path} has no items file for {lost['id'][0]!r} ({lost.height} "
                "rows); delete the file and build again"
            )
        if held and size + some.height > rows:
            yield pl.concat(held)
            held, size = [], 0
        held.append(some.drop("class"))
        size += some.height
    if size:
        yield pl.concat(held)


def _chosen_batches(
    part: str, chosen: pl.DataFrame
) -> Iterator[tuple[pa.RecordBatch, pl.DataFrame]]:
    """The chosen rows (sorted by `row`) of an items file, and their lines of the plan."""
    file = pq.ParquetFile(part)
    places = chosen["row"].to_numpy()
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        first, last = np.searchsorted(places, [start, end])
        if last > first:
            table = file.read_row_group(group).take(pa.array(places[first:last] - start))
            for offset in range(0, table.num_rows, BATCH_ROWS):
                piece = table.slice(offset, BATCH_ROWS).combine_chunks()
                wanted = chosen.slice(int(first) + offset, piece.num_rows)
                yield _one_batch(piece), wanted
        start = end
    if len(places) and places[-1] >= start:
        raise VecmillError(
            f"{part} has {start} rows, but the plan wants row {places[-1]}; the plan is of another "
            "state of the workdir: build again"
        )


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [column.combine_chunks() for column in table.columns], schema=table.schema
    )


def _table_batch(
    items: pa.RecordBatch,
    wanted: pl.DataFrame,
    vectors: np.ndarray,
    schema: pa.Schema,
    fit: Fit | None,
    part: str,
) -> pa.RecordBatch:
    """Every column of `schema`: none is left for Lance to fill with NULL in silence."""
    if not items.column("id").equals(wanted["id"].to_arrow().cast(pa.string())):
        raise VecmillError(
            f"the plan and {part} disagree about ids (first {wanted['id'][0]!r}); the plan is of "
            "another state of the workdir: build again"
        )
    size = items.num_rows
    fitted = _fitted(items, vectors, fit)
    planned = wanted.select(sorted(FROM_PLAN)).to_arrow()
    columns = []
    for field in schema:
        name = field.name
        if name == "vector":
            column: Any = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.astype(field.type.value_type.to_pandas_dtype()).ravel()),
                type=field.type,
            )
        elif name in FROM_PLAN:
            column = planned.column(name).combine_chunks().cast(field.type)
        elif name in FITTED:
            column = fitted[name].cast(field.type)
        elif name in items.schema.names:
            column = items.column(name)
            column = column if column.type == field.type else pc.cast(column, field.type)
        elif name in TABLE_NAMES:
            raise VecmillError(f"{part} has no column {name!r}, which every items file has")
        else:
            column = pa.nulls(size, field.type)  # a user column that this source does not carry
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _fitted(items: pa.RecordBatch, vectors: np.ndarray, fit: Fit | None) -> dict[str, pa.Array]:
    """The columns that follow from the vectors and the fit, by name."""
    size = items.num_rows
    kinds = items.column("kind").unique().to_pylist()
    own = None if fit is None or not kinds else fit.kinds.get(kinds[0])  # a part has one kind
    if own is None:
        nothing = pa.nulls(size, pa.float32())
        return {"cluster": pa.repeat(pa.scalar(-1, pa.int32()), size), "x": nothing, "y": nothing}
    from tasks.geometry.place import place

    placed = place(own, vectors)
    nowhere = np.isnan(placed.x)
    return {
        "cluster": pa.array(placed.cluster, pa.int32()),
        "x": pa.array(placed.x, pa.float32(), mask=nowhere),
        "y": pa.array(placed.y, pa.float32(), mask=nowhere),
    }
