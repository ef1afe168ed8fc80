"""Exact duplicates: items whose content hash is the same; and what near-duplicate records mean for
their items.

Every group of equal items keeps one row, the minimum of a total order over the spec's `keep`
criteria and then the id, so the marks do not depend on the order of arrival. The others point to
it. Where some are of records that are no near-duplicates, one of those is kept. All other items of
a near-duplicate point to the record that it resembles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from schemas.identity import RULES_VERSION, digest_json
from schemas.refs import ItemsPart
from schemas.spec import DedupeSpec
from tasks.dedupe.order import in_order
from tasks.store.items import item_frames, repeats
from tasks.store.workdir import Store

EQUAL = frozenset({"longest", "shortest"})
"""Criteria that exact copies cannot differ in. Their sizes may: a picture that is kept of a release
has none, and shall not lose its place for that."""

COPIES = ("id", "source", "key", "kind", "content_hash", "size", "time")
"""Columns of items by which copies are judged."""

NO_RECORDS = {"source": pl.String, "key": pl.String, "kept_id": pl.String, "score": pl.Float32}
"""What of the marked records is looked at, when there are none."""


def mark_exact(items: Sequence[ItemsPart], spec: DedupeSpec, store: Store, near: str = "") -> str:
    """Mark every copy but the kept one, and items of records marked in the file `near` ("": none).

    Returns the path of the verdicts: `duplicates/<digest>.parquet` has columns id, duplicate_of,
    duplicate_kind ("exact" or "near"), duplicate_score (float32; 1.0 for exact copies), a row for
    each marked item. Copies are not looked for when `spec.exact` is off.
    """
    seen = sorted(part.digest for part in items)
    digest = digest_json([RULES_VERSION, "exact", seen, spec.model_dump(), Path(near).stem])
    if found := store.find("duplicates", digest):
        return str(found)
    equal = repeats(items if spec.exact else [], COPIES)
    records = pl.read_parquet(near) if near else pl.DataFrame(schema=NO_RECORDS)
    marked = exact_duplicates(equal, spec, records)
    if near:
        marked = pl.concat([marked, near_duplicates(items, records, marked)]).sort("id")
    with store.create("duplicates", digest) as path:
        marked.write_parquet(path)
    return str(store.path("duplicates", digest))


def near_duplicates(
    items: Sequence[ItemsPart], records: pl.DataFrame, exact: pl.DataFrame
) -> pl.DataFrame:
    """The items of marked `records` that are no copies of a kept item, as rows of verdicts.

    `records` has columns source, key, kept_id and score.
    """
    marks = records.select("source", "key", "kept_id", "score")
    columns = ["id", "source", "key"]
    frames = [
        frame.join(marks, on=["source", "key"])
        .join(exact, on="id", how="anti")
        .select(
            "id",
            pl.col("kept_id").alias("duplicate_of"),
            pl.lit("near").alias("duplicate_kind"),
            pl.col("score").alias("duplicate_score"),
        )
        for frame in item_frames(items, columns)
    ]
    return pl.concat([exact.clear(), *frames])


def exact_duplicates(
    items: pl.DataFrame, spec: DedupeSpec, records: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The marked rows among `items` (columns id, source, key, kind, content_hash, size, time).

    A group that stands wholly in marked `records` (columns source, key) is left to them.
    """
    group = ["content_hash", "kind"] + (["source"] if spec.within == "source" else [])
    criteria = [name for name in spec.keep if name not in EQUAL]
    again = items.filter(pl.len().over(group) > 1)
    if records is None or records.is_empty():
        again = again.with_columns(pl.lit(False).alias("marked"))
    else:
        own = records.select("source", "key", pl.lit(True).alias("marked"))
        again = again.join(own, on=["source", "key"], how="left", maintain_order="left")
        again = again.with_columns(pl.col("marked").fill_null(False))
    return (
        in_order(again, criteria)
        .sort("marked", maintain_order=True)
        .filter(~pl.col("marked").all().over(group))
        .with_columns(pl.col("id").first().over(group).alias("duplicate_of"))
        .filter(pl.col("id") != pl.col("duplicate_of"))
        .select(
            "id",
            "duplicate_of",
            pl.lit("exact").alias("duplicate_kind"),
            pl.lit(1.0, pl.Float32).alias("duplicate_score"),
        )
        .sort("id")
    )
