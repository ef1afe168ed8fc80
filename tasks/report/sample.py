"""A sample of a table's rows that does not depend on the order in which they are stored.

Bottom-k by row hash: a row hash is as good as random, so the k smallest are a fair sample, the
same for the same content whoever built it. One pass over two small columns, k rows in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

PREFIX = 8
"""Bytes of the hash that decide; ties (one in 1e19) fall to the stored order."""


@dataclass(frozen=True)
class Sample:
    """Rows of one kind: `offsets` in table order, drawn out of `of`."""

    kind: str
    offsets: np.ndarray  # int64, by rank of their hash
    of: int


def sample_offsets(batches: Iterable[pa.RecordBatch], size: int) -> list[Sample]:
    """At most `size` rows of each kind, from batches of the columns kind and row_hash.

    Returns one sample per kind, by name; offsets count rows over all batches from 0.
    """
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    totals: dict[str, int] = {}
    start = 0
    for batch in batches:
        ranks = _ranks(batch.column("row_hash"))
        kinds = batch.column("kind").to_numpy(zero_copy_only=False)
        offsets = np.arange(start, start + batch.num_rows, dtype=np.int64)
        start += batch.num_rows
        for kind in np.unique(kinds.astype(str)):
            mine = kinds == kind
            totals[kind] = totals.get(kind, 0) + int(mine.sum())
            held_ranks, held = kept.get(kind, (ranks[:0], offsets[:0]))
            all_ranks = np.concatenate([held_ranks, ranks[mine]])
            all_offsets = np.concatenate([held, offsets[mine]])
            best = np.lexsort((all_offsets, all_ranks))[:size]
            kept[kind] = (all_ranks[best], all_offsets[best])
    return [Sample(str(kind), kept[kind][1], totals[kind]) for kind in sorted(kept)]


def _ranks(hashes: pa.Array) -> np.ndarray:
    """The first eight bytes of each hash as a number; a null ranks last."""
    width = hashes.type.byte_width
    out = np.full(len(hashes), np.iinfo(np.uint64).max, np.uint64)
    valid = hashes.is_valid().to_numpy(zero_copy_only=False)
    data = hashes.buffers()[1]
    if data is None:
        return out
    first = hashes.offset * width
    rows = np.frombuffer(data, np.uint8)[first : first + len(hashes) * width]
    prefix = np.ascontiguousarray(rows.reshape(-1, width)[:, :PREFIX])
    out[valid] = prefix.view(">u8").reshape(-1).astype(np.uint64)[valid]
    return out
