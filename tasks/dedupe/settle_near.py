"""Near marks whose record is not kept after all: each pointer ends at a row that stands.

The record that others resemble may lose all its own rows: each of its chunks may be an exact copy
of another record's, or its contents could not be embedded. Rows that were marked for its sake are
then released: kept, but for exact copies among themselves. (Where semantic duplicates are looked
for, that tier judges them instead: `vectors/semantic.py`.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from schemas.identity import digest_json
from schemas.refs import ItemsPart
from schemas.spec import DedupeSpec
from tasks.dedupe.exact import COPIES, exact_duplicates
from tasks.store.items import item_frames
from tasks.store.workdir import Store


def settle_near(
    items: Sequence[ItemsPart],
    duplicates: str,
    spec: DedupeSpec,
    store: Store,
    rejected: Collection[bytes] = (),
) -> str:
    """The verdicts in the file `duplicates`, less near marks that do not stand; returns their path.

    Items of `rejected` contents have left the state. Where all marks stand, that is `duplicates`.
    """
    verdicts = pl.read_parquet(duplicates)
    near = verdicts.filter(pl.col("duplicate_kind") == "near")
    if near.is_empty():
        return duplicates
    out = sorted(content.hex() for content in rejected)
    digest = digest_json(["settled", Path(duplicates).stem, out])
    if found := store.find("duplicates", digest):
        return str(found)
    gone = pl.col("content_hash").is_in(list(rejected))
    lost = _lost(items, verdicts, near, gone)
    if lost.is_empty():
        return duplicates
    frames = (
        frame.filter(~gone).join(lost, on="id", how="semi") for frame in item_frames(items, COPIES)
    )
    released = pl.concat(frames)
    settled = [verdicts.join(lost, on="id", how="anti")]
    if spec.exact:
        settled.append(exact_duplicates(released, spec))
    with store.create("duplicates", digest) as path:
        pl.concat(settled).sort("id").write_parquet(path)
    return str(store.path("duplicates", digest))


def _lost(
    items: Sequence[ItemsPart], verdicts: pl.DataFrame, near: pl.DataFrame, gone: pl.Expr
) -> pl.DataFrame:
    """The ids of `near` rows that point to a record without any kept row."""
    record = pl.col("id").str.split_exact("#", 1).struct.field("field_0").alias("record")
    wanted = near.select(pl.col("duplicate_of").alias("record")).unique()
    for frame in item_frames(items, ["id", "content_hash"]):
        if wanted.is_empty():
            break
        kept = frame.with_columns(record).join(wanted, on="record", how="semi").filter(~gone)
        kept = kept.join(verdicts, on="id", how="anti")
        wanted = wanted.join(kept, on="record", how="anti")
    return near.join(wanted, left_on="duplicate_of", right_on="record", how="semi").select("id")
