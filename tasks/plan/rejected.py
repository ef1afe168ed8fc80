"""Contents that could not be embedded: every item that holds one leaves the state, counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from schemas.identity import digest_json
from schemas.refs import ItemsPart, PlanRef, RejectsRef, ShardResult
from tasks.store.items import read_items
from tasks.store.refusals import read_refusals
from tasks.store.workdir import RejectsWriter, Store


def refused_contents(
    plan: PlanRef, vector_key: str, retried: Collection[str], store: Store
) -> dict[bytes, dict]:
    """Content hash → reason and detail, for the planned contents that are known to fail.

    Those with a reason in `retried` are not among them: they are given to the embedder again.
    """
    known = read_refusals(store, vector_key)
    if known.is_empty():
        return {}
    planned = pl.read_parquet(plan.contents, columns=["content_hash"])
    found = known.join(planned, on="content_hash", how="semi", maintain_order="left")
    found = found.filter(~pl.col("reason").is_in(list(retried)))
    return {row["content_hash"]: row for row in found.iter_rows(named=True)}


def rejected_contents(plan: PlanRef, results: Sequence[ShardResult]) -> dict[bytes, dict]:
    """Content hash → the embedder's reject, for every content that has no vector now.

    Raises `ValueError` when a reject names no content of the plan.
    """
    rejects = [row for r in results if r.rejects.items for row in _rows(r.rejects.path)]
    if not rejects:
        return {}
    contents = dict(pl.read_parquet(plan.contents, columns=["id", "content_hash"]).iter_rows())
    unknown = [row["id"] for row in rejects if row["id"] not in contents]
    if unknown:
        raise ValueError(f"rejects name items that the plan does not embed: {unknown[:3]}")
    return {contents[row["id"]]: row for row in rejects}


def reject_items(
    items: Sequence[ItemsPart], rejected: dict[bytes, dict], store: Store
) -> RejectsRef:
    """One reject for each item that holds a rejected content, its copies included."""
    columns = ["id", "source", "key", "kind", "uri", "content_hash"]
    state = read_items(items, columns).filter(pl.col("content_hash").is_in(list(rejected)))
    name = digest_json(["embed", sorted(state["id"]), sorted(c.hex() for c in rejected)])
    with RejectsWriter(store, f"embed-{name}", stage="embed", level="item") as writer:
        for row in state.iter_rows(named=True):
            cause = rejected[row["content_hash"]]
            place = {column: row[column] for column in columns[:-1]}
            writer.add(**place, reason=cause["reason"], detail=cause["detail"])
    return writer.ref


def _rows(path: str) -> list[dict]:
    return pl.read_parquet(path, columns=["id", "reason", "detail"]).to_dicts()
