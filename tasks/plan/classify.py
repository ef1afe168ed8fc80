"""The plan: every item of the new state against the base version, by id and hashes.

    new            no row with that id
    changed        another content (or the vectors were computed in another way)
    metadata_only  the same content, another row hash
    rejudged       the same row, another verdict on duplicates
    unchanged      untouched by the build
    removed        a row of the base that the new state does not have

Contents are looked up twice, in the `workdir` and in the base, before they are given to the
embedder. The new state goes through some rows at a time; only the base is held as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import CONTENTS, PLAN
from schemas.refs import ItemsPart, PlanRef
from tasks.plan.base import Base, BaseRef, read_base
from tasks.plan.contents import MissingContents
from tasks.store.hashes import repeated
from tasks.store.items import ROWS_TOGETHER, item_frames
from tasks.store.vectors import vector_index
from tasks.store.workdir import ROWS_PER_GROUP, Store

CLASSES = ("new", "changed", "metadata_only", "rejudged", "unchanged", "removed")

ROWS_AT_ONCE = 65_536
"""Rows of the plan that are written together: some MB."""

SEED = 20_261_120
"""Of the ids' hashes: one that stands twice is found by eight bytes a row."""

VERDICT = ("duplicate_of", "duplicate_kind", "duplicate_score")


_OF_ITEMS_ALONE = [
    pl.lit(None, kind).alias(name)
    for name, kind in {
        "content_hash": pl.Binary,
        "part": pl.String,
        "row": pl.Int64,
        "duplicate_of": pl.String,
        "duplicate_kind": pl.String,
        "duplicate_score": pl.Float32,
        "vector_rowaddr": pl.UInt64,
    }.items()
]
"""What is null for a row that leaves."""


class Comparison:
    """The base as rows of the new state are compared with it, some at a time.

    `vector_key` is that of the build's embedder: another one makes every row `changed`.
    `provisional`: the verdicts are without those by vectors, so that a published one is no change
    by itself; nor that a row was judged by them since the record that it is near to has no row that
    is kept. What is published stays with its row in the plan, which nothing is staged by.
    """

    def __init__(self, base: Base, vector_key: str, *, provisional: bool = False) -> None:
        self._rows = base.rows
        self._by_vectors = pl.lit(False)
        if provisional:
            old = pl.col("old_duplicate_kind")
            released = old.is_null() & _near_to(_without_kept_row(base.rows))
            self._by_vectors = old.eq_missing("semantic") | released
        self._same_vectors = base.vector_key == vector_key
        self._old = base.rows.select(
            "id",
            "rowaddr",
            pl.col("content_hash").alias("old_content"),
            pl.col("row_hash").alias("old_row"),
            *(pl.col(name).alias(f"old_{name}") for name in VERDICT),
        )
        known = base.rows if self._same_vectors else base.rows.clear()
        self._vectors = known.group_by("content_hash").agg(
            pl.col("rowaddr").min().alias("vector_rowaddr")
        )
        self._met: list[pl.Series] = [pl.Series([], dtype=pl.UInt64)]

    def classify(self, items: pl.DataFrame) -> pl.DataFrame:
        """The plan's rows (schema `PLAN`) of some items.

        `items` has columns id, content_hash, row_hash, part, row and the verdict.
        """
        same_content = pl.col("content_hash").eq(pl.col("old_content"))
        same_verdict = pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in VERDICT
        )
        stands = self._by_vectors & pl.col("class").eq("unchanged")
        found = (
            items.join(self._old, on="id", how="left", maintain_order="left")
            .with_columns(
                pl.when(pl.col("rowaddr").is_null())
                .then(pl.lit("new"))
                .when(~(same_content & pl.lit(self._same_vectors)))
                .then(pl.lit("changed"))
                .when(pl.col("row_hash") != pl.col("old_row"))
                .then(pl.lit("metadata_only"))
                .when(~same_verdict & ~self._by_vectors)
                .then(pl.lit("rejudged"))
                .otherwise(pl.lit("unchanged"))
                .alias("class")
            )
            .with_columns(
                pl.when(stands).then(f"old_{name}").otherwise(name).alias(name) for name in VERDICT
            )
            .drop("old_content", "old_row", "row_hash", *(f"old_{n}" for n in VERDICT))
            .join(self._vectors, on="content_hash", how="left", maintain_order="left")
        )
        self._met.append(found["rowaddr"].drop_nulls())
        return found

    def removed(self) -> Iterator[pl.DataFrame]:
        """The plan's rows of what the base has and no item that was classified."""
        met = pl.DataFrame({"rowaddr": pl.concat(self._met)})
        gone = self._rows.join(met, on="rowaddr", how="anti", maintain_order="left").select(
            "id", "rowaddr", pl.lit("removed").alias("class"), *_OF_ITEMS_ALONE
        )
        yield from gone.iter_slices(ROWS_TOGETHER)


def _without_kept_row(rows: pl.DataFrame) -> pl.Series:
    """The records of published rows that are all duplicates (`#` begins the chunk of an id)."""
    record = pl.col("id").str.split_exact("#", 1).struct.field("field_0").alias("record")
    kept = pl.col("duplicate_of").is_null()
    marked = rows.filter(~kept & (pl.col("duplicate_kind") != "near")).select(record).unique()
    return marked.join(rows.filter(kept).select(record), on="record", how="anti")["record"]


def _near_to(records: pl.Series) -> pl.Expr:
    of = pl.col("duplicate_of").is_in(records.implode())
    return pl.col("duplicate_kind").eq_missing("near") & of.fill_null(False)


def plan_build(
    items: Sequence[ItemsPart],
    duplicates: str,
    base: BaseRef,
    vector_key: str,
    store: Store,
    name: str,
    *,
    overwrite: bool = False,
    provisional: bool = False,
    rejected: Collection[bytes] = (),
) -> PlanRef:
    """Plan the build and write its two files as `plans/<name>*`: they go when the build ends.

    `overwrite`: every row is written again. `provisional`: see `Comparison`. `rejected` contents
    leave the state. Raises `ValueError` when an id stands twice in the items: the stages before
    must prevent it.
    """
    return plan_against(
        read_base(base),
        items,
        duplicates,
        vector_key,
        store,
        name,
        overwrite=overwrite,
        provisional=provisional,
        rejected=rejected,
    )


def plan_against(
    base: Base,
    items: Sequence[ItemsPart],
    duplicates: str,
    vector_key: str,
    store: Store,
    name: str,
    *,
    overwrite: bool = False,
    provisional: bool = False,
    rejected: Collection[bytes] = (),
) -> PlanRef:
    """`plan_build` against rows that are at hand."""
    comparison = Comparison(base, vector_key, provisional=provisional)
    missing = MissingContents(items, vector_index(store, vector_key), overwrite)
    counts: Counter[str] = Counter()

    def rows() -> Iterator[pl.DataFrame]:
        for state in _states(items, duplicates, rejected):
            found = comparison.classify(state)
            missing.add(found)
            yield found
        yield from comparison.removed()

    def counted() -> Iterator[pl.DataFrame]:
        for frame in rows():
            counts.update(dict(frame["class"].value_counts().iter_rows()))
            yield frame

    path = _write(counted(), PLAN, store, name, ROWS_AT_ONCE)
    contents = missing.distinct()
    return PlanRef(
        path=path,
        contents=_write(contents.frames(), CONTENTS, store, f"{name}-contents", ROWS_PER_GROUP),
        classes={name: counts[name] for name in CLASSES},
        to_embed=len(contents),
        overwrite=overwrite,
        base_version=base.version,
    )


def _states(
    items: Sequence[ItemsPart], duplicates: str, rejected: Collection[bytes]
) -> Iterator[pl.DataFrame]:
    """The items with their verdicts, some at a time; raises where an id stands twice."""
    verdicts = pl.read_parquet(duplicates)
    hashes = [np.empty(0, np.uint64)]
    for state in item_frames(items, ["id", "content_hash", "row_hash"]):
        if rejected:
            state = state.filter(~pl.col("content_hash").is_in(list(rejected)))
        hashes.append(state["id"].hash(SEED).to_numpy())
        yield state.join(verdicts, on="id", how="left", maintain_order="left")
    again = repeated(every := np.concatenate(hashes))
    if again.any():
        _refuse_repeats(items, every[again], rejected)


def _refuse_repeats(
    items: Sequence[ItemsPart], hashes: np.ndarray, rejected: Collection[bytes]
) -> None:
    """Compare the ids that hash to these values: they may only hash alike."""
    alike = [
        frame.filter(
            pl.col("id").hash(SEED).is_in(pl.Series(hashes).implode())
            & ~pl.col("content_hash").is_in(list(rejected))
        )["id"]
        for frame in item_frames(items, ["id", "content_hash"])
    ]
    ids = pl.concat(alike)
    if ids.is_duplicated().any():
        twice = ids.filter(ids.is_duplicated()).head(3).to_list()
        raise ValueError(f"ids stand twice in the items, for example {twice}")


def drop_plan(store: Store, name: str) -> None:
    """Remove the files of a plan: they are of no use to any other build."""
    for part in (name, f"{name}-contents"):
        store.path("plans", part).unlink(missing_ok=True)


def _write(
    frames: Iterable[pl.DataFrame], schema: pa.Schema, store: Store, name: str, rows: int
) -> str:
    with store.create("plans", name) as path, pq.ParquetWriter(path, schema) as writer:
        for frame in frames:
            for piece in frame.select(schema.names).iter_slices(rows):
                writer.write_table(_cast(piece.to_arrow(), schema))
    return str(store.path("plans", name))


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Polars' large types → the schema's own (large binary → fixed binary has no direct cast)."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_fixed_size_binary(field.type):
            column = column.cast(pa.binary())
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)
