"""Near-duplicate images: records whose pictures are the same one, resized, recompressed, mirrored …

    records ─ content ─ signature, made or found ─ in order: against kept ones ─> marks

Records with the same file are one picture here, and the first of them in the order stands for all.
The marks depend on the records alone: not on files, their order, or what was judged before. A
picture that cannot be read any more is compared with nothing; how many there are is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas.spec import DedupeSpec
from tasks.dedupe.judged_pictures import judge_pictures
from tasks.dedupe.order import in_order
from tasks.dedupe.phash import HASH_BYTES, hashes_of
from tasks.dedupe.picture_signatures import sign_pictures
from tasks.dedupe.same_picture import CORRELATION
from tasks.store.workdir import Store

MARKS = ["source", "key", "kind", "kept_source", "kept_key", "kept_id", "score"]

_CONTENT = "content_hash"


@dataclass(frozen=True)
class NearImages:
    """The marked records, columns `MARKS`; and how many records' pictures could not be read."""

    marks: pl.DataFrame
    unseen: int


def near_image_records(
    records: pl.DataFrame, spec: DedupeSpec, store: Store, options: dict[str, Any] | None = None
) -> NearImages:
    """Mark the near-duplicates among image records.

    `records` has id, source, key, content_hash (16 bytes), size (of the file; 0 where that is not
    known), time, and where the row stands: part (path of a records or items file) and row (position
    in it). `options` are values of storage options, for files without a thumbnail. Raises `OSError`
    where such a file cannot be reached.
    """
    assert spec.near is not None
    known = pl.col("size") > 0  # of a published row whose file is gone it is not
    ordered = in_order(records.with_columns(pl.when(known).then("size")), spec.keep)
    pictures = ordered.unique(_CONTENT, keep="first", maintain_order=True)
    signed = sign_pictures(pictures.select(_CONTENT, "part", "row"), store, options)
    unseen = pictures.select(_CONTENT).filter(pl.Series(~signed.usable))
    seen = pictures.select(_CONTENT).with_columns(
        signature=pl.Series(np.arange(len(signed.values))), usable=pl.Series(signed.usable)
    )
    groups = ordered.join(seen, on=_CONTENT, how="left", maintain_order="left")
    by = ["source"] if spec.within == "source" else []
    threshold = max(CORRELATION, spec.near.threshold)
    frames = [
        _marks(group, signed.values, threshold, store)
        for group in (groups.partition_by(by, maintain_order=True) if by else [groups])
    ]
    marks = pl.concat(frames) if frames else _marks(groups, signed.values, threshold, store)
    return NearImages(marks, records.join(unseen, on=_CONTENT, how="semi").height)


def _marks(
    ordered: pl.DataFrame, values: np.ndarray, threshold: float, store: Store
) -> pl.DataFrame:
    """The marked records of one group that is compared, which come in the order."""
    first = ordered.unique(_CONTENT, keep="first", maintain_order=True)
    usable = first.filter("usable")
    taken = values[usable["signature"].to_numpy()]
    judged = judge_pictures(
        usable[_CONTENT], hashes_of(taken), taken[:, HASH_BYTES:], threshold, store
    )
    through = np.arange(first.height)
    score = np.ones(first.height, np.float32)
    places = np.flatnonzero(first["usable"].to_numpy())
    marked = judged.through >= 0
    through[places[marked]] = places[judged.through[marked]]
    score[places[marked]] = judged.score[marked]
    kept = first[through].select(
        pl.col("source").alias("kept_source"),
        pl.col("key").alias("kept_key"),
        pl.col("id").alias("kept_id"),
    )
    told = pl.concat(
        [first.select(_CONTENT), kept, pl.DataFrame({"score": score})], how="horizontal"
    )
    return (
        ordered.join(told, on=_CONTENT, how="left")
        .filter(pl.col("id") != pl.col("kept_id"))
        .with_columns(pl.lit("image").alias("kind"), pl.col("score").cast(pl.Float32))
        .select(MARKS)
        .sort("source", "key")
    )
