"""What differs between two versions of a table, row by row, by id and hashes alone.

    added          no row with that id before
    removed        no row with that id after
    changed        another content
    metadata_only  the same content, another row hash
    rejudged       the same row, another verdict on duplicates
    moved          the same row and verdict, another cluster
    unchanged      none of these

Each row is in one class, the first that fits. A million rows on each side take about a second.
"""

from __future__ import annotations

from typing import Any

import polars as pl

CLASSES = ("added", "removed", "changed", "metadata_only", "rejudged", "moved", "unchanged")

_HASHES = ("content_hash", "row_hash")
_VERDICT = ("duplicate_of", "duplicate_kind", "duplicate_score")
COLUMNS = ("id", "source", *_HASHES, *_VERDICT, "cluster")
"""All that is read of either version."""


def row_changes(before: Any, after: Any) -> pl.DataFrame:
    """Columns id, source, class: one row for each id of either `lance.LanceDataset`."""
    old, new = (
        pl.DataFrame(each.to_table(columns=list(COLUMNS))).lazy() for each in (before, after)
    )
    both = old.with_columns(was=pl.lit(True)).join(
        new.with_columns(stays=pl.lit(True)), on="id", how="full", suffix="_new", coalesce=True
    )
    verdict = pl.any_horizontal(_differs(name) for name in _VERDICT)
    named = (
        pl.when(pl.col("was").is_null())
        .then(pl.lit("added"))
        .when(pl.col("stays").is_null())
        .then(pl.lit("removed"))
        .when(_differs("content_hash"))
        .then(pl.lit("changed"))
        .when(_differs("row_hash"))
        .then(pl.lit("metadata_only"))
        .when(verdict)
        .then(pl.lit("rejudged"))
        .when(_differs("cluster"))
        .then(pl.lit("moved"))
        .otherwise(pl.lit("unchanged"))
    )
    source = pl.coalesce("source_new", "source")
    return both.select("id", source.alias("source"), named.alias("class")).collect()


def _differs(name: str) -> pl.Expr:
    return pl.col(name).ne_missing(pl.col(f"{name}_new"))


def count_classes(changes: pl.DataFrame) -> dict[str, int]:
    """Class → rows, every class named."""
    found = dict(changes["class"].value_counts().iter_rows())
    return {name: found.get(name, 0) for name in CLASSES}
