"""The items of a state as Polars frames: only the columns asked for, never the texts.

read_items    all of them at once, where they are few
item_frames   some at a time, so that it does not matter how many there are
repeats       those whose content stands more than once
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from schemas.arrow import items_schema
from schemas.refs import ItemsPart
from tasks.store.hashes import hash_values, prefixes, repeated

ROWS_TOGETHER = 1 << 16
"""Rows of a frame that is one of many: 10 MB of ids and hashes. Each is joined with the whole base,
which takes 0.1 s for a million rows, so they are not smaller."""


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


def item_frames(
    parts: Sequence[ItemsPart], columns: Sequence[str], rows: int = ROWS_TOGETHER
) -> Iterator[pl.DataFrame]:
    """`read_items` in frames of at most `rows` rows, in part order; small parts share a frame."""
    held: list[pl.DataFrame] = []
    size = 0
    for part in parts:
        for start in range(0, part.items, rows):
            frame = _some_items(part, columns, start, min(rows, part.items - start))
            if held and size + frame.height > rows:
                yield pl.concat(held)
                held, size = [], 0
            held.append(frame)
            size += frame.height
    if held:
        yield pl.concat(held)


def _some_items(part: ItemsPart, columns: Sequence[str], start: int, rows: int) -> pl.DataFrame:
    """The items `start` to `start + rows` of a part, with part and row."""
    return (
        pl.scan_parquet(part.path)
        .select(list(columns))
        .slice(start, rows)
        .collect()
        .with_columns(
            pl.lit(part.path).alias("part"),
            pl.int_range(start, start + pl.len(), dtype=pl.Int64).alias("row"),
        )
    )


def repeats(parts: Sequence[ItemsPart], columns: Sequence[str]) -> pl.DataFrame:
    """`read_items` of those items alone whose content stands more than once among them.

    (And, once in 10^19 pairs, of others: their hashes begin alike.)
    """
    parts = [part for part in parts if part.items]
    found = [
        prefixes(hash_values(pq.read_table(part.path, columns=["content_hash"]).column(0)))
        for part in parts
    ]
    again = repeated(np.concatenate([np.empty(0, np.uint64), *found]))
    frames = [read_items([], columns)]
    start = 0
    for part in parts:
        here = again[start : start + part.items]
        start += part.items
        if here.any():
            frames += [
                frame.filter(pl.Series(here[frame["row"].to_numpy()])).select(frames[0].columns)
                for frame in item_frames([part], columns)
            ]
    return pl.concat(frames)
