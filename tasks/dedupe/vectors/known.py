"""What an earlier build found of semantic duplicates: `neighbours/<settings>.parquet`.

A row for each slot that it judged, in their order: content_hash, group, through (int32, the row
that it points to, −1 kept), score, its cells and its sketch. The name digests everything that
decides whether two contents are neighbours; whichever build wrote it, the verdicts in it hold for
its rows, and `judge_more` makes of them those of other rows. So the latest replaces the one before.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dedupe.vectors.judgement import UNKNOWN, Judgement
from tasks.dedupe.vectors.sketch import CELLS_A_ROW, WORDS, Traits
from tasks.store.workdir import Store

FOLDER = "neighbours"


def find_known(store: Store, name: str, slots: pl.DataFrame) -> tuple[Judgement, Traits]:
    """What is known of `slots` (columns content_hash and group), in their order.

    Returns the judgement, `UNKNOWN` for what must be judged, and what the rows are sought by.
    """
    judgement, traits = Judgement.unknown(slots.height), Traits.unknown(slots.height)
    path = store.find(FOLDER, name)
    if path is None:
        return judgement, traits
    table = pq.read_table(path)
    old = pl.DataFrame(table.select(["content_hash", "group"])).with_row_index("old")
    match = slots.select("content_hash", "group").join(
        old, on=["content_hash", "group"], how="left", maintain_order="left"
    )["old"]
    at = match.cast(pl.Int64).fill_null(-1).to_numpy()
    known = np.flatnonzero(at >= 0)
    traits.cells[known] = _values(table, "cells").reshape(-1, CELLS_A_ROW)[at[known]]
    traits.sketches[known] = _values(table, "sketch").reshape(-1, WORDS)[at[known]]
    # a row that stands elsewhere in the order now is a new one; the others keep their verdicts
    known = known[at[known] >= np.maximum.accumulate(at[known])]
    number = np.full(table.num_rows, UNKNOWN, np.int64)
    number[at[known]] = known
    through = table.column("through").to_numpy().astype(np.int64)
    target = np.where(through >= 0, number[through], through)  # of one that left: unknown
    judgement.through[known] = target[at[known]]
    judgement.score[known] = table.column("score").to_numpy()[at[known]]
    return judgement, traits


def _values(table: pa.Table, name: str) -> np.ndarray:
    """A column of lists of one length, as one flat array."""
    return table.column(name).combine_chunks().flatten().to_numpy()


def keep_known(
    store: Store, name: str, slots: pl.DataFrame, judgement: Judgement, traits: Traits
) -> None:
    """Write what was found, for the next build."""
    cells, sketches = traits.cells.ravel(), traits.sketches.ravel()
    hashes = slots["content_hash"].to_arrow().cast(pa.binary()).cast(pa.binary(16))
    columns = {
        "content_hash": hashes,
        "group": slots["group"].to_arrow().cast(pa.string()),
        "through": pa.array(judgement.through, pa.int32()),
        "score": pa.array(judgement.score, pa.float32()),
        "cells": pa.FixedSizeListArray.from_arrays(pa.array(cells, pa.int32()), CELLS_A_ROW),
        "sketch": pa.FixedSizeListArray.from_arrays(pa.array(sketches, pa.uint64()), WORDS),
    }
    with store.create(FOLDER, name) as path:
        pq.write_table(pa.table(columns), path, compression="none")
