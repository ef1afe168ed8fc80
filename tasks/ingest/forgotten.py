"""Records that were forgotten: left out while the source is read, before anything is written.

A tombstone is the hash of `source:key`, so keys are hashed as they are met: 1.5 s for a million,
paid by sources that have tombstones, for parts that are read anew. What remains of such a record is
a reject without key, whose place does not name it either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec, RecordsPart, SourceListing
from schemas.spec import SourceSpec
from tasks.ingest.grouping import holds_many
from tasks.ingest.reader import RawBatch, Rejected
from tasks.table.tombstones import tombstone

DETAIL = "forgotten on request; the source still holds it: take it out there too"


def read_hashes(path: str) -> frozenset[bytes]:
    """The tombstones of the file at `path`; none where it is ""."""
    if not path:
        return frozenset()
    return frozenset(pq.read_table(path, columns=["hash"]).column("hash").to_pylist())


def forgotten_digest(
    path: str, source: SourceSpec, files: Sequence[FileRef]
) -> dict[str, list[str]]:
    """What the tombstones at `path` add to the name of a part: nothing where they cannot matter.

    A file that is one record tells its key, so a group of them is read again only when one of its
    own files was forgotten. The keys of a table are not known before it is read.
    """
    if not path:
        return {}
    if any(holds_many(file, source.kind) for file in files):
        return {"forgotten": [Path(path).stem]}
    hashes = read_hashes(path)
    own = {tombstone(source.name, file.key) for file in files} & hashes
    return {"forgotten": sorted(each.hex() for each in own)} if own else {}


def leave_out(
    table: pa.Table,
    refused: list[Rejected],
    hashes: frozenset[bytes],
    raw: RawBatch,
    file: FileRef,
    part: PartSpec,
    first_row: int,
) -> tuple[pa.Table, list[Rejected]]:
    """A judged batch without what was forgotten, used or rejected; each became a reject."""
    source = part.source
    keys = table.column("key").to_pylist()
    gone = np.array([tombstone(source.name, key) in hashes for key in keys], bool)
    if gone.any():
        places = np.asarray(table.column("row").to_numpy()[gone] - first_row)
        named = [key for key, is_gone in zip(keys, gone, strict=True) if is_gone]
        refused = refused + [
            _reject(int(place), key, _position(raw, int(place)), file, source)
            for place, key in zip(places, named, strict=True)
        ]
        table = table.filter(pa.array(~gone))
    refused = [
        _reject(reject.place, reject.key, reject.position, file, source)
        if reject.key is not None and tombstone(source.name, reject.key) in hashes
        else reject
        for reject in refused
    ]
    return table, sorted(refused, key=lambda reject: reject.place)


def without_forgotten(records: pl.DataFrame, source: str, path: str) -> pl.DataFrame:
    """The records of a source (column key) less those that the tombstones at `path` name."""
    hashes = read_hashes(path)
    if not hashes:
        return records
    return records.filter([tombstone(source, key) not in hashes for key in records["key"]])


def count_forgotten(
    listings: Sequence[SourceListing], parts: Sequence[RecordsPart]
) -> dict[str, int]:
    """Source → records that were left out of it, for the sources that have tombstones."""
    marked = {part.source.name for each in listings for part in each.parts if part.tombstones}
    counts = dict.fromkeys(sorted(marked), 0)
    for part in parts:
        if part.source in counts and part.rejects.records:
            reasons = pl.read_parquet(part.rejects.path, columns=["reason"])["reason"]
            counts[part.source] += int((reasons == str(Reason.FORGOTTEN)).sum())
    return counts


def _reject(
    place: int, key: str, position: int | None, file: FileRef, source: SourceSpec
) -> Rejected:
    """The reject of a forgotten record: nothing in it names the key."""
    named = re.compile(rf"(?<![^\W_]){re.escape(key)}(?![^\W_])")
    places = [said for said in (file.uri, source.path) if not named.search(said)]
    uri = places[0] if places else source.name
    return Rejected(place, Reason.FORGOTTEN, DETAIL, None, position, uri)


def _position(raw: RawBatch, place: int) -> int | None:
    """Line or row in the file of the record at `place`, where the reader knows it."""
    if raw.positions is None:
        return None
    at = place if raw.places is None else int(np.flatnonzero(raw.places == place)[0])
    return int(raw.positions[at])
