"""Near-duplicate images: records whose pictures are the same one, resized, recompressed, mirrored …

    records ─ content ─ signature, made or found ─ in order: against kept ones ─> marks

Records with the same file are one picture here, and the first of them in the order stands for all.
The marks depend on the records alone: not on files, their order, or what was judged before. A
picture that cannot be read any more is compared with nothing; how many there are is told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.identity import item_ids
from schemas.spec import DedupeSpec
from tasks.dedupe.near import MARKS, Near, RecordSet
from tasks.dedupe.order import in_order
from tasks.dedupe.pictures.judged_pictures import judge_pictures
from tasks.dedupe.pictures.phash import hashes_of
from tasks.dedupe.pictures.picture_signatures import sign_pictures
from tasks.dedupe.pictures.same_picture import CORRELATION
from tasks.store.opening import resolve_options
from tasks.store.workdir import Store

_CONTENT = "content_hash"

_WHO = ["source", "key", _CONTENT, "size", "time"]


def near_images(records: RecordSet, spec: DedupeSpec, store: Store) -> Near:
    """The marked records among images, and how many have a picture that cannot be read any more.

    Raises `OSError` where the file of a picture without a thumbnail cannot be reached.
    """
    options = resolve_options(records.storage_options)
    return near_pictures(_records(records), spec, store, options)


def _records(records: RecordSet) -> pl.DataFrame:
    """The records as `near_pictures` takes them."""
    places = [(part.path, out) for part, out in records.parts]
    places += [(part.path, ()) for part in records.kept]
    frames = [pl.DataFrame(schema=_SCHEMA)]
    for path, out in places:
        numbered = ["row"] if out else []
        found = pl.DataFrame(pq.read_table(path, columns=[*_WHO, *numbered])).with_columns(
            place=pl.int_range(pl.len(), dtype=pl.Int64), part=pl.lit(path)
        )
        if out:
            found = found.filter(~pl.col("row").is_in(list(out)))
        frames.append(found.drop(numbered).rename({"place": "row"}).select(list(_SCHEMA)))
    every = pl.concat(frames)
    sources, keys = (
        pa.chunked_array([every[name].to_arrow().cast(pa.string())]) for name in ("source", "key")
    )
    ids = item_ids(sources, keys, None)
    return every.with_columns(id=pl.Series(ids, dtype=pl.String))


_SCHEMA = {
    "source": pl.String,
    "key": pl.String,
    _CONTENT: pl.Binary,
    "size": pl.Int64,
    "time": pl.Datetime("us", "UTC"),
    "part": pl.String,
    "row": pl.Int64,
}


def near_pictures(
    records: pl.DataFrame, spec: DedupeSpec, store: Store, options: dict[str, Any] | None = None
) -> Near:
    """Mark the near-duplicates among image records.

    `records` has id, source, key, content_hash (16 bytes), size (of the file; 0 where that is not
    known), time, and where the row stands: part (path of a records or items file) and row (position
    in it). `options` are values of storage options, for files without a thumbnail.
    """
    assert spec.near is not None
    size = pl.col("size").max().over(_CONTENT)  # of a published row without its file it is 0
    ordered = in_order(records.with_columns(size=pl.when(size > 0).then(size)), spec.keep)
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
        _marks(group, signed.values, threshold, store, group["source"][0] if by else "")
        for group in (groups.partition_by(by, maintain_order=True) if by else [groups])
    ]
    marks = pl.concat([pl.DataFrame(schema=MARKS), *frames])
    return Near(marks, records.join(unseen, on=_CONTENT, how="semi").height)


def _marks(
    ordered: pl.DataFrame, values: np.ndarray, threshold: float, store: Store, source: str
) -> pl.DataFrame:
    """The marked records of one group that is compared, which come in the order.

    `source` is theirs, "" where sources are compared with each other.
    """
    first = ordered.unique(_CONTENT, keep="first", maintain_order=True)
    usable = first.filter("usable")
    at = usable["signature"].to_numpy()
    if not np.array_equal(at, np.arange(len(values))):  # a copy of 1.4 KB each
        values = values[at]
    judged = judge_pictures(usable[_CONTENT], hashes_of(values), values, threshold, store, source)
    through = np.arange(first.height)
    score = np.ones(first.height, np.float32)
    places = np.flatnonzero(first["usable"].to_numpy())
    marked = judged.through >= 0
    through[places[marked]] = places[judged.through[marked]]
    score[places[marked]] = judged.score[marked]
    kept = first.select(
        pl.col("source").alias("kept_source"),
        pl.col("key").alias("kept_key"),
        pl.col("id").alias("kept_id"),
    )[through]
    told = pl.concat(
        [first.select(_CONTENT), kept, pl.DataFrame({"score": score})], how="horizontal"
    )
    return (
        ordered.join(told, on=_CONTENT, how="left")
        .filter(pl.col("id") != pl.col("kept_id"))
        .with_columns(pl.lit("image").alias("kind"), pl.col("score").cast(pl.Float32))
        .select(list(MARKS))
    )
