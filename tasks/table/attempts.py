"""How often each reject was tried: counted from what earlier builds recorded in `<space>__rejects`.

    rejects of the last recorded builds ─ by identity → attempts
      an ordinary build carries the number over
      a retry adds one to those whose reason it tried again

A reject is the same one where source, key, id, stage, reason, file and place are the same; another
reason is another reject, and a reject that was not there before is tried for the first time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from tasks.table.dataset import TableRef, try_open

ATTEMPTS = pa.field("attempts", pa.int32(), nullable=False)
"""The column of `<space>__rejects`: 1 for what was tried once."""

IDENTITY = ["source", "key", "id", "stage", "reason", "uri", "position"]

UPGRADES = 20
"""Other writers that may be first while a table from before that column gets it."""


@dataclass(frozen=True)
class Tally:
    """What a retry tried again, and how much of it is rejected still."""

    tried: int = 0
    stay: int = 0

    @property
    def healed(self) -> int:
        """Rejects that are none any more."""
        return self.tried - self.stay


NOTHING_TRIED = Tally()
"""The tally of an ordinary build."""


def upgrade(ref: TableRef, dataset: Any) -> Any:
    """The dataset with the column `attempts`: a table from before it gets it, 1 everywhere.

    Several writers may do so at once: one of them adds the column, the others find it.
    """
    from lance.commit import CommitConflictError

    for _ in range(UPGRADES):
        if ATTEMPTS.name in dataset.schema.names:
            break
        try:
            dataset.add_columns({ATTEMPTS.name: "CAST(1 AS INT)"})
        except CommitConflictError:
            dataset = try_open(ref)
    return dataset


def with_attempts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the column `attempts`, 1 everywhere, where it has none."""
    if ATTEMPTS.name in batch.schema.names:
        return batch
    ones = pa.repeat(pa.scalar(1, ATTEMPTS.type), batch.num_rows)
    return batch.append_column(ATTEMPTS, ones)


def known_attempts(batches: Iterable[pa.RecordBatch], least: int = 1) -> pl.DataFrame:
    """`IDENTITY` and attempts of the recorded rejects that were tried `least` times, each once."""
    schema = pl.Schema(
        {**dict.fromkeys(IDENTITY, pl.String), "position": pl.Int64, "attempts": pl.Int32}
    )
    frames = [
        pl.DataFrame(pl.from_arrow(with_attempts(batch)))
        .select(schema.names())
        .filter(pl.col("attempts") >= least)
        .cast(schema)
        for batch in batches
    ]
    known = pl.concat([pl.DataFrame(schema=schema), *frames])
    return known.group_by(IDENTITY).agg(pl.col("attempts").max())


def count_attempts(
    rejects: pl.DataFrame, known: pl.DataFrame, retried: Collection[str]
) -> pl.Series:
    """The attempts (int32) of each of these rejects, given what was known before this build."""
    found = rejects.select(IDENTITY).join(
        known, on=IDENTITY, how="left", nulls_equal=True, maintain_order="left"
    )
    again = pl.col("reason").is_in(list(retried)).cast(pl.Int32)
    counted = (pl.col("attempts") + again).fill_null(1).cast(pl.Int32)
    return found.select(counted)["attempts"]


def tally(rejects: Iterable[pl.DataFrame], known: pl.DataFrame, retried: Collection[str]) -> Tally:
    """How many of the known rejects a retry tried, and how many of `rejects` are still of them."""
    tried = known.filter(pl.col("reason").is_in(list(retried)))
    now = pl.concat([known.clear().select(IDENTITY), *(r.select(IDENTITY) for r in rejects)])
    stay = tried.join(now, on=IDENTITY, how="semi", nulls_equal=True)
    return Tally(tried.height, stay.height)
