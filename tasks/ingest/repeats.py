"""Keys that a source has more than once: the first in (file, row) order stays.

Needs all of a source's keys at once, and nothing else of its records: 100 bytes each.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas.identity import digest_json
from schemas.reasons import Reason
from schemas.refs import RecordsPart, RejectsRef
from tasks.store.workdir import RejectsWriter, Store, read_rejects_ref


def find_repeats(parts: Sequence[RecordsPart], store: Store) -> RejectsRef:
    """Rejects for each record whose key an earlier record of its source has.

    `parts` come in listing order; each reject names the part's digest and the row in it.
    """
    name = f"repeats-{digest_json([part.digest for part in parts])}"
    found = store.find("rejects", name)
    if found is not None:
        return read_rejects_ref(found)
    repeated = _repeated(parts)
    with RejectsWriter(store, name, stage="ingest", reason=str(Reason.REPEATED_KEY)) as rejects:
        for row in repeated.iter_rows(named=True):
            rejects.add(
                source=row["source"],
                key=row["key"],
                kind=row["kind"],
                uri=row["uri"],
                part=row["part"],
                row=row["row"],
                detail=f"the key stands first in {row['first_uri']}",
            )
    return rejects.ref


def _repeated(parts: Sequence[RecordsPart]) -> pl.DataFrame:
    """The later records of repeated keys, in (part, row) order, each with the first one's uri."""
    frames = [
        pl.scan_parquet(part.path)
        .select("source", "key", "row")
        .with_columns(part=pl.lit(at, pl.Int64))
        for at, part in enumerate(parts)
        if part.records
    ]
    if not frames:
        return pl.DataFrame()
    keys = pl.concat(frames).collect()
    again = keys.filter(pl.struct("source", "key").is_duplicated())
    if again.is_empty():
        return again
    full = pl.concat(
        pl.scan_parquet(parts[at].path)
        .select("source", "key", "kind", "uri", "row")
        .with_columns(part=pl.lit(at, pl.Int64))
        .join(group.lazy(), on="row", how="semi")
        .collect()
        for (at,), group in again.partition_by("part", as_dict=True).items()
    ).sort("part", "row")
    first = full.unique(["source", "key"], keep="first", maintain_order=True)
    marked = full.join(
        first.select("source", "key", first_uri="uri", first_part="part", first_row="row"),
        on=["source", "key"],
    )
    later = marked.filter(
        (pl.col("part") != pl.col("first_part")) | (pl.col("row") != pl.col("first_row"))
    ).sort("part", "row")
    digests = pl.Series([part.digest for part in parts])
    return later.with_columns(part=digests.gather(later["part"]))
