"""The rows that a fit is made from: of each kind the distinct contents with the least hashes.

Hashes are as good as random, and the same contents are drawn whoever builds, in whatever order they
came. A few vectors at a time are read, from the `workdir` or else from the published table.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from schemas.refs import EmbedderRef, ItemsPart, PlanRef
from tasks.store.batches import read_batches
from tasks.store.hashes import frame_hashes
from tasks.store.vectors import release_vectors, vector_index
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef, open_version
from tasks.table.item_vectors import item_vectors, located

if TYPE_CHECKING:
    from tasks.cluster.make_fit import Sample

PLAN_ROWS = 1 << 16
"""Rows of the plan that are looked at together: some MB."""

LOOKED_UP = 1 << 14
"""Vectors looked up together: their row addresses are listed in one filter of the table."""


def draw_samples(
    plan: PlanRef,
    items: Sequence[ItemsPart],
    kinds: Collection[str],
    embedder: EmbedderRef,
    table: TableRef,
    version: int | None,
    store: Store,
) -> dict[str, Sample]:
    """A sample of each of the `kinds` that the planned state has rows of.

    `version` of `table` is the one that was planned from (None: there is none). Raises
    `VecmillError` where a row has no vector yet.
    """
    from tasks.cluster.make_fit import Sample, sample_rows

    drawn, rows = _least(plan, items, kinds, sample_rows(embedder.dimensions))
    dataset = None if version is None else open_version(table, version)
    index = vector_index(store, embedder.vector_key)
    try:
        return {
            kind: Sample(
                vectors=np.concatenate(
                    [
                        item_vectors(located(some, index), embedder.dimensions, dataset)
                        for some in contents.iter_slices(LOOKED_UP)
                    ]
                ),
                contents=frame_hashes(contents["content_hash"]),
                rows=rows[kind],
            )
            for kind, contents in drawn.items()
        }
    finally:
        release_vectors()


def _least(
    plan: PlanRef, items: Sequence[ItemsPart], kinds: Collection[str], most: int
) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """Kind → its contents with the least hashes, in that order; kind → its rows."""
    of_part = {part.path: part.kind for part in items if part.kind in kinds}
    drawn: dict[str, pl.DataFrame] = {}
    rows: dict[str, int] = {}
    columns = ["id", "class", "content_hash", "part", "vector_rowaddr"]
    for batch in read_batches(plan.path, PLAN_ROWS, columns):
        found = (
            pl.DataFrame(pl.from_arrow(batch))
            .filter((pl.col("class") != "removed") & pl.col("part").is_in(list(of_part)))
            .with_columns(pl.col("part").replace_strict(of_part, return_dtype=pl.String))
        )
        for (kind,), some in found.partition_by("part", as_dict=True, include_key=False).items():
            name = str(kind)
            rows[name] = rows.get(name, 0) + some.height
            together = pl.concat([drawn[name], some]) if name in drawn else some
            # of equal contents the first stays: any of them has the same vector
            drawn[name] = (
                together.unique("content_hash", keep="first", maintain_order=True)
                .sort("content_hash")
                .head(most)
            )
    return drawn, rows
