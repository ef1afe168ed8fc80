"""Exact duplicates: items whose content hash is the same.

Every group keeps one row, the minimum of a total order over the spec's `keep` criteria and then
the id, so the marks do not depend on the order of arrival. The others point to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas.identity import RULES_VERSION, digest_json
from schemas.refs import ItemsPart
from schemas.spec import DedupeSpec
from tasks.dedupe.order import in_order
from tasks.store.items import repeats
from tasks.store.workdir import Store

EQUAL = frozenset({"longest", "shortest"})
"""Criteria that exact copies cannot differ in. Their sizes may: a picture that is kept of a release
has none, and shall not lose its place for that."""


def mark_exact(items: Sequence[ItemsPart], spec: DedupeSpec, store: Store) -> str:
    """Mark every copy but the kept one; return the path of the verdicts.

    The file `duplicates/<digest>.parquet` has columns id, duplicate_of, duplicate_kind ("exact"),
    duplicate_score (float32, 1.0), a row for each marked item; none when `spec.exact` is off.
    """
    digest = digest_json(
        [RULES_VERSION, "exact", sorted(p.digest for p in items), spec.model_dump()]
    )
    if found := store.find("duplicates", digest):
        return str(found)
    columns = ["id", "source", "kind", "content_hash", "size", "time"]
    marked = exact_duplicates(repeats(items if spec.exact else [], columns), spec)
    with store.create("duplicates", digest) as path:
        marked.write_parquet(path)
    return str(store.path("duplicates", digest))


def exact_duplicates(items: pl.DataFrame, spec: DedupeSpec) -> pl.DataFrame:
    """The marked rows among `items` (columns id, source, kind, content_hash, size, time)."""
    group = ["content_hash", "kind"] + (["source"] if spec.within == "source" else [])
    criteria = [name for name in spec.keep if name not in EQUAL]
    return (
        in_order(items.filter(pl.len().over(group) > 1), criteria)
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
