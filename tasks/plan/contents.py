"""The contents that must be embedded: distinct, without a vector in the `workdir` or the base.

plan − known → (part, row) of each → its key and uri, items file by items file → contents file
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from schemas.refs import ItemsPart

KIND_ORDER = ("text", "image")
"""Shards are of one kind: all texts first."""


def missing_contents(plan: pl.DataFrame, known: pl.DataFrame, overwrite: bool) -> pl.DataFrame:
    """One row of the plan for each content that must be embedded, in item order.

    `known` (column content_hash) has a vector in the `workdir`. Returns columns id, content_hash,
    part, row.
    """
    written = plan.lazy().filter(
        pl.col("content_hash").is_not_null()
        & pl.col("vector_rowaddr").is_null()
        & ((pl.col("class") != "unchanged") | pl.lit(overwrite))
    )
    return (
        written.select("id", "content_hash", "part", "row")
        .with_row_index("place")
        .join(known.lazy().select("content_hash"), on="content_hash", how="anti")
        .sort("place")  # the join promises no order, and two builders must cut the same shards
        .unique("content_hash", keep="first", maintain_order=True)
        .drop("place")
        .collect()
    )


def contents_rows(missing: pl.DataFrame, items: Sequence[ItemsPart]) -> Iterator[pl.DataFrame]:
    """The rows of `CONTENTS` in `schemas.arrow`: text first, each kind in item order.

    One frame for each items file: they are never together in memory.
    """
    by_part = missing.partition_by("part", as_dict=True, maintain_order=True)
    for kind in KIND_ORDER:
        for part in items:
            if part.kind == kind and (rows := by_part.get((part.path,))) is not None:
                places = pl.read_parquet(part.path, columns=["source", "key", "uri", "size"])
                found = places[rows["row"]]
                yield pl.concat([rows, found], how="horizontal").with_columns(
                    pl.lit(kind).alias("kind")
                )
