"""The items of a state as one Polars frame: only the columns asked for, never the texts."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas.arrow import items_schema
from schemas.refs import ItemsPart


def read_items(parts: Sequence[ItemsPart], columns: Sequence[str]) -> pl.DataFrame:
    """The given columns of every item, in part order, with part (path) and row (position).

    Fixed binary columns come as Polars binary. An empty state gives an empty frame with the same
    columns.
    """
    schema = items_schema()
    empty = pl.DataFrame(schema.empty_table().select(list(columns))).with_columns(
        pl.lit("").alias("part"), pl.lit(0, pl.Int64).alias("row")
    )
    frames = [
        pl.read_parquet(part.path, columns=list(columns))
        .with_row_index("row")
        .with_columns(pl.lit(part.path).alias("part"), pl.col("row").cast(pl.Int64))
        .select(empty.columns)
        for part in parts
        if part.items
    ]
    return pl.concat([empty, *frames])
