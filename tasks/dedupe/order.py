"""Which copy is kept: a total order over the spec's `keep` criteria, then the id."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

ORDER = {
    "earliest": (pl.col("time"), False),
    "latest": (pl.col("time"), True),
    "longest": (pl.col("size"), True),
    "shortest": (pl.col("size"), False),
}
"""Criterion → what is sorted, and whether the greatest comes first; rows without one are last."""


def in_order(rows: pl.DataFrame, keep: Sequence[str]) -> pl.DataFrame:
    """`rows` (columns id and those that `keep` looks at), what is kept before what is marked.

    The order is total, so it does not depend on the one in which the rows came.
    """
    by = [ORDER[name][0] for name in keep] + [pl.col("id")]
    descending = [ORDER[name][1] for name in keep] + [False]
    return rows.sort(by, descending=descending, nulls_last=True)
