"""`<space>__tombstones`: what was forgotten, as hashes of `source:key`, so that it stays gone.

    append_tombstones(ref, ...)     before anything is erased
    tombstone_files(ref, store)     for builds: one small file a source, by reference
    forgotten_rows(dataset, ...)    how many rows of a version a tombstone names

A hash keeps the key out of the table. It is no secret to somebody who can guess keys: the hash of
every guess can be compared. A source that is renamed has other hashes: its records may come back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import HASH
from schemas.identity import digest_bytes, digest_json, item_id
from tasks.store.workdir import Store
from tasks.table.companions import append_rows
from tasks.table.dataset import TableRef, try_open

TOMBSTONES = pa.schema(
    [
        pa.field("hash", HASH, nullable=False),  # blake2b-128 of `source:key`, encoded as in ids
        pa.field("source", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("operation", pa.string(), nullable=False),  # of `vecmill forget`
        pa.field("who", pa.string()),
        pa.field("reason", pa.string()),
    ]
)

FILE = pa.schema([pa.field("hash", HASH, nullable=False)])
"""`tombstones/<digest>.parquet`: those of one source."""


def tombstone(source: str, key: str) -> bytes:
    """The 16 bytes that stand for a record."""
    return place_tombstone(item_id(source, key, None))


def place_tombstone(place: str) -> bytes:
    """`tombstone` of `source:key` as ids write it."""
    return digest_bytes(place.encode("utf-8", "surrogatepass"))


def append_tombstones(
    ref: TableRef,
    records: Iterable[tuple[str, str]],
    operation: str,
    who: str,
    reason: str | None,
) -> int:
    """Write a tombstone for each (source, key) that has none yet; returns how many."""
    known = set(read_tombstones(ref)["hash"])
    fresh = {tombstone(source, key): source for source, key in records}
    now = datetime.now(UTC)
    rows = [
        {"hash": h, "source": s, "at": now, "operation": operation, "who": who, "reason": reason}
        for h, s in sorted(fresh.items())
        if h not in known
    ]
    if rows:
        batch = pa.RecordBatch.from_pylist(rows, TOMBSTONES)
        append_rows(ref.companion("tombstones"), TOMBSTONES, [batch])
    return len(rows)


def read_tombstones(ref: TableRef) -> pl.DataFrame:
    """Every tombstone: columns hash (binary), source, operation; none where there is no table."""
    dataset = try_open(ref.companion("tombstones"))
    names = ["hash", "source", "operation"]
    if dataset is None:
        return pl.DataFrame(pa.schema([TOMBSTONES.field(n) for n in names]).empty_table())
    return pl.DataFrame(dataset.to_table(columns=names))


def tombstone_files(ref: TableRef, store: Store) -> dict[str, str]:
    """Source → path of a file with its tombstones, for the sources that have some.

    Named after what it holds. Where nothing was ever forgotten this is one look for a table.
    """
    found = read_tombstones(ref)
    paths = {}
    for (source,), rows in found.partition_by("source", as_dict=True).items():
        hashes = sorted(set(rows["hash"]))
        name = digest_json([source, [each.hex() for each in hashes]])
        path = store.find("tombstones", name)
        if path is None:
            with store.create("tombstones", name) as part:
                pq.write_table(pa.table({"hash": pa.array(hashes, HASH)}, FILE), part)
            path = store.path("tombstones", name)
        paths[str(source)] = str(path)
    return paths


def places(ids: pl.Series) -> pl.Series:
    """`source:key` of each id: what stands before the chunk's number."""
    return ids.str.splitn("#", 2).struct.field("field_0")


def forgotten_rows(dataset: Any, tombstones: Collection[bytes]) -> int:
    """How many rows of the dataset's version belong to a record with one of these tombstones."""
    if not tombstones:
        return 0
    ids = pl.DataFrame(dataset.to_table(columns=["id"]))["id"]
    counts = places(ids).value_counts(name="rows")
    hashes = set(tombstones)
    return sum(rows for place, rows in counts.iter_rows() if place_tombstone(place) in hashes)
