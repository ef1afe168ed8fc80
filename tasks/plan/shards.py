"""Contents without a vector, cut into shards: the unit of parallel and resumable embedding.

A shard is sized by what embedding it costs, which for a text grows with its length, and bounded by
what it takes in memory, so that a corpus of any size is embedded in the same space. Cuts depend on
the plan and the embedder alone: two builders of one state cut the same shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
import polars as pl

from schemas.refs import PlanRef, Shard

COST = {"text": 150_000, "image": 512}
"""What a shard costs: code points of text, or pictures. 250 passages of 140 tokens take a small
model 5 to 10 seconds on two cores, and so do 1,500 sentences of a dozen words: a kill costs at
most one shard."""

QUICK_COST = {"text": 5_000_000, "image": 4_096}
"""The same where embedding is quick: 65,000 short rows take a static model 3 seconds, and a GPU
that embeds 5,000 passages a second is done with 8,000 of them in two."""

TEXT_COST = 16
"""Added to the code points of each text: its special tokens, and what a row costs in any case."""

PER_SHARD = {"text": 65_536, "image": 4_096}
"""Most contents in a shard, however little they cost."""

MOST_SHARDS = 500
"""Beyond that shards grow: each is a task and a file (FACTS: 50 to 500 tasks a run)."""

MOST_BYTES = 64 << 20
"""Shards do not grow beyond this many bytes of vectors, nor this many code points of text: then
there are more of them. A shard holds its vectors two or three times while it writes them."""

WIDTH = 1_024
"""Dimensions that are reckoned with where nobody says."""


def cut_shards(plan: PlanRef, *, quick: bool = False, dimensions: int = WIDTH) -> list[Shard]:
    """The shards of a plan, each of one kind, in item order.

    `quick`: the embedder is a static model, or computes on an accelerator.
    """
    contents = pl.read_parquet(plan.contents, columns=["kind", "size"])
    shards: list[Shard] = []
    offset = 0
    runs = contents["kind"].rle()
    for kind, length in zip(*(runs.struct.field(f) for f in ("value", "len")), strict=True):
        cost = np.ones(length, np.int64)
        if kind == "text":
            cost = contents["size"].slice(offset, length).to_numpy() + TEXT_COST
        budget = (QUICK_COST if quick else COST)[kind]
        for start, end in _pieces(cost, budget, PER_SHARD[kind], MOST_BYTES // (4 * dimensions)):
            shards.append(Shard(len(shards), plan.contents, offset + start, end - start))
        offset += length
    return shards


def _pieces(cost: np.ndarray, budget: int, rows: int, fit: int) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces that cost at most `budget` and have at most `rows`, one at least.

    Both grow where there would be too many pieces, as far as memory lets them: `fit` rows.
    """
    spent = np.concatenate([np.zeros(1, np.int64), np.cumsum(cost)])
    budget = min(max(budget, ceil(int(spent[-1]) / MOST_SHARDS)), MOST_BYTES)
    rows = max(min(max(rows, ceil(len(cost) / MOST_SHARDS)), fit), 1)
    start = 0
    while start < len(cost):
        full = int(np.searchsorted(spent, spent[start] + budget, side="right")) - 1
        end = min(max(full, start + 1), start + rows, len(cost))
        yield start, end
        start = end
