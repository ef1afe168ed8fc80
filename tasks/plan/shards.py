"""Contents without a vector, cut into shards: the unit of parallel and resumable embedding."""

from __future__ import annotations

from math import ceil

import polars as pl

from schemas.refs import PlanRef, Shard

PER_SHARD = {"text": 256, "image": 512}
"""5 to 10 seconds of a small model on two cores: a kill costs at most one shard."""

MOST_SHARDS = 500
"""Beyond that shards grow: each is a task and a file (FACTS: 50 to 500 tasks a run)."""


def cut_shards(plan: PlanRef) -> list[Shard]:
    """The shards of a plan, each of one kind, in item order."""
    kinds = pl.read_parquet(plan.contents, columns=["kind"])["kind"]
    shards: list[Shard] = []
    offset = 0
    for kind, length in zip(*(kinds.rle().struct.field(f) for f in ("value", "len")), strict=True):
        step = max(PER_SHARD[kind], ceil(length / MOST_SHARDS))
        for start in range(0, length, step):
            size = min(step, length - start)
            shards.append(Shard(len(shards), plan.contents, offset + start, size))
        offset += length
    return shards
