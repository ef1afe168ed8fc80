"""Contents without a vector, cut into shards: the unit of parallel and resumable embedding."""

from __future__ import annotations

import polars as pl

from schemas.refs import PlanRef, Shard

PER_SHARD = {"text": 2_048, "image": 512}
"""About 10 to 60 seconds of a small model on two cores; a kill costs at most one shard."""


def cut_shards(plan: PlanRef) -> list[Shard]:
    """The shards of a plan, each of one kind, in item order."""
    kinds = pl.read_parquet(plan.contents, columns=["kind"])["kind"]
    shards: list[Shard] = []
    offset = 0
    for kind, length in zip(*(kinds.rle().struct.field(f) for f in ("value", "len")), strict=True):
        for start in range(0, length, PER_SHARD[kind]):
            size = min(PER_SHARD[kind], length - start)
            shards.append(Shard(len(shards), plan.contents, offset + start, size))
        offset += length
    return shards
