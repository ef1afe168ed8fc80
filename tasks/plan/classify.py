"""The plan: every item of the new state against the base version, by id and hashes.

    new            no row with that id
    changed        another content (or the vectors were computed in another way)
    metadata_only  the same content, another row hash
    rejudged       the same row, another verdict on duplicates
    unchanged      untouched by the build
    removed        a row of the base that the new state does not have

Contents are looked up twice, in the `workdir` and in the base, before they are given to the
embedder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import CONTENTS, PLAN
from schemas.refs import ItemsPart, PlanRef
from tasks.plan.base import Base, BaseRef, read_base
from tasks.plan.contents import contents_rows, missing_contents
from tasks.store.items import read_items
from tasks.store.vectors import vector_index
from tasks.store.workdir import ROWS_PER_GROUP, Store

CLASSES = ("new", "changed", "metadata_only", "rejudged", "unchanged", "removed")

ROWS_AT_ONCE = 65_536
"""Rows of the plan that are written together: some MB."""

VERDICT = ("duplicate_of", "duplicate_kind", "duplicate_score")


def classify(items: pl.DataFrame, base: Base, vector_key: str) -> pl.DataFrame:
    """The plan's rows (schema `PLAN`).

    `items` has columns id, content_hash, row_hash, part, row and the verdict; `vector_key` is that
    of the build's embedder: another one makes every row `changed`.
    """
    old = base.rows.select(
        "id",
        "rowaddr",
        pl.col("content_hash").alias("old_content"),
        pl.col("row_hash").alias("old_row"),
        *(pl.col(name).alias(f"old_{name}") for name in VERDICT[:2]),
    )
    same_vectors = base.vector_key == vector_key
    same_content = pl.col("content_hash").eq(pl.col("old_content")) & pl.lit(same_vectors)
    same_verdict = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in VERDICT[:2]
    )
    kept = (
        items.join(old, on="id", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("rowaddr").is_null())
            .then(pl.lit("new"))
            .when(~same_content)
            .then(pl.lit("changed"))
            .when(pl.col("row_hash") != pl.col("old_row"))
            .then(pl.lit("metadata_only"))
            .when(~same_verdict)
            .then(pl.lit("rejudged"))
            .otherwise(pl.lit("unchanged"))
            .alias("class")
        )
        .drop("old_content", "old_row", "row_hash", *(f"old_{n}" for n in VERDICT[:2]))
    )
    known = base.rows if same_vectors else base.rows.clear()
    vectors = known.group_by("content_hash").agg(pl.col("rowaddr").min().alias("vector_rowaddr"))
    kept = kept.join(vectors, on="content_hash", how="left", maintain_order="left")
    gone = base.rows.join(items.select("id"), on="id", how="anti").select(
        "id", "rowaddr", pl.lit("removed").alias("class")
    )
    return pl.concat([kept, gone], how="diagonal")


def plan_build(
    items: Sequence[ItemsPart],
    duplicates: str,
    base: BaseRef,
    vector_key: str,
    store: Store,
    name: str,
    *,
    overwrite: bool = False,
    rejected: Collection[bytes] = (),
) -> PlanRef:
    """Plan the build and write its two files as `plans/<name>*`: they go when the build ends.

    `overwrite`: every row is written again. `rejected` contents leave the state. Raises
    `ValueError` when an id stands twice in the items: the stages before must prevent it.
    """
    return plan_against(
        read_base(base),
        items,
        duplicates,
        vector_key,
        store,
        name,
        overwrite=overwrite,
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
    rejected: Collection[bytes] = (),
) -> PlanRef:
    """`plan_build` against rows that are at hand."""
    state = read_items(items, ["id", "content_hash", "row_hash"])
    if rejected:
        state = state.filter(~pl.col("content_hash").is_in(list(rejected)))
    if state["id"].n_unique() != state.height:
        twice = state.filter(pl.col("id").is_duplicated())["id"].head(3).to_list()
        raise ValueError(f"ids stand twice in the items, for example {twice}")
    state = state.join(pl.read_parquet(duplicates), on="id", how="left", maintain_order="left")
    plan = classify(state, base, vector_key)
    missing = missing_contents(plan, vector_index(store, vector_key), overwrite)
    counts = dict(plan["class"].value_counts().iter_rows())
    return PlanRef(
        path=_write([plan], PLAN, store, name, ROWS_AT_ONCE),
        contents=_write(
            contents_rows(missing, items), CONTENTS, store, f"{name}-contents", ROWS_PER_GROUP
        ),
        classes={name: counts.get(name, 0) for name in CLASSES},
        to_embed=missing.height,
        overwrite=overwrite,
        base_version=base.version,
    )


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
