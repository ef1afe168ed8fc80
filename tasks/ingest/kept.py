"""Published rows that stay without a file, as items: like those that chunking makes of records.

    release ─ rows of the records kept ─ user columns as the spec has them ─> items/kept-….parquet

So everything behind (duplicates, the plan, a rewrite of the table, counts) takes them for what they
are: a part of the state. The file's name says which rows it holds and in what columns; while those
stay the same, over any number of releases, their texts are not read again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import ITEM_FIELDS, ROW_HASH_NAMES, items_schema
from schemas.errors import UsageError
from schemas.identity import HASH_BYTES, RULES_VERSION, digest_json, row_hashes
from schemas.refs import ItemsPart, RejectsRef
from tasks.ingest.column_types import TIME, arrow_type, cast_column
from tasks.ingest.published import AppendSource, PublishedRef, source_rows
from tasks.ingest.record_checks import shown
from tasks.store.image_bytes import KEPT
from tasks.store.workdir import ROWS_PER_GROUP, RejectsWriter, Store

KEPT_VERSION = 1
"""Raised when the same published rows would give other items."""

AT_ONCE = 4_096
"""Rows read together, with their texts: some MB."""

SAME = ("id", "source", "key", "kind", "chunk", "start", "end", "text", "uri", "content_hash")
"""What an item takes over from its row as it stands."""


@dataclass(frozen=True)
class _Rows:
    """Which rows of the release: `addresses` (uint64, ascending) of `records` records."""

    addresses: np.ndarray
    records: int
    digest: str  # over their ids and hashes


def keep_rows(published: PublishedRef, kept: pl.DataFrame, store: Store) -> tuple[ItemsPart, ...]:
    """The items of the published records `kept` (columns source, key), a part for each source.

    Raises `UsageError` where a value cannot be had in its column's new type: there is no file to
    read it from again, and a row that left for that would be lost.
    """
    parts = []
    dataset = published.open()
    for source in published.sources:
        keys = kept.filter(pl.col("source") == source.name).select("key")
        if keys.height:
            rows = _find_rows(dataset, source, keys)
            parts.append(_part(dataset, source, rows, store))
    return tuple(parts)


def _find_rows(dataset: Any, source: AppendSource, keys: pl.DataFrame) -> _Rows:
    table = dataset.to_table(
        columns=["id", "key", "content_hash", "row_hash"],
        filter=source_rows(source),
        with_row_address=True,
    )
    rows = pl.DataFrame(table).join(keys, on="key", how="semi")
    digest, named = hashlib.blake2b(digest_size=HASH_BYTES), rows.sort("id")
    digest.update("\n".join(named["id"]).encode())
    for name in ("content_hash", "row_hash"):
        digest.update(b"".join(named[name]))
    addresses = rows["_rowaddr"].sort().to_numpy()
    return _Rows(addresses, keys.height, digest.hexdigest())


def _part(dataset: Any, source: AppendSource, rows: _Rows, store: Store) -> ItemsPart:
    settings = [source.time, source.columns, source.thumbnails]
    name = f"kept-{digest_json([KEPT_VERSION, RULES_VERSION, settings, rows.digest])}"
    if store.find("items", name) is None or store.find("rejects", name) is None:
        with store.create("items", name) as path, RejectsWriter(store, name):
            _write(dataset, source, rows, path)  # it has no rejects, but every part has the file
    found, refused = store.find("items", name), store.find("rejects", name)
    return ItemsPart(
        digest=name,
        source=source.name,
        kind=source.kind,
        path=str(found),
        records=rows.records,
        items=len(rows.addresses),
        truncated=0,  # what was cut is in no table
        rejects=RejectsRef(str(refused)),
    )


def _write(dataset: Any, source: AppendSource, rows: _Rows, path: Any) -> None:
    schema = items_schema(pa.field(name, arrow_type(kind)) for name, kind, _ in source.columns)
    names = set(dataset.schema.names)
    old = {was for _, _, was in source.columns if was is not None}
    old |= {source.time} if source.time is not None else set()
    columns = [*SAME, *(["thumbnail"] if source.thumbnails else []), *sorted(old & names)]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in dataset.to_batches(
            columns=columns, filter=source_rows(source), with_row_address=True, batch_size=AT_ONCE
        ):
            at = np.searchsorted(rows.addresses, batch.column("_rowaddr").to_numpy())
            at = np.minimum(at, len(rows.addresses) - 1)
            mine = rows.addresses[at] == batch.column("_rowaddr").to_numpy()
            if mine.any():
                items = _items(pa.table(batch.filter(pa.array(mine))), source, schema)
                writer.write_table(items, row_group_size=ROWS_PER_GROUP)


def _items(rows: pa.Table, source: AppendSource, schema: pa.Schema) -> pa.Table:
    """Rows of the release as items of `schema`."""
    columns = {name: rows.column(name) for name in SAME}
    text = columns["text"]
    columns["size"] = pc.fill_null(pc.utf8_length(text), 0).cast(pa.int64())
    locator = None if source.kind == "text" else KEPT
    columns["locator"] = pa.repeat(pa.scalar(locator, pa.string()), rows.num_rows)
    columns["time"] = _times(rows, source.time)
    for name, kind, was in source.columns:
        columns[name] = _user_column(rows, was, arrow_type(kind), name, source)
    if source.thumbnails:
        columns["thumbnail"] = rows.column("thumbnail")
    else:
        columns["thumbnail"] = pa.nulls(rows.num_rows, pa.binary())
    items = pa.table(columns)
    own = sorted(set(schema.names) - {field.name for field in ITEM_FIELDS})
    hashes = row_hashes(items, [*ROW_HASH_NAMES, *own])
    return items.append_column("row_hash", hashes).select(schema.names).cast(schema)


def _times(rows: pa.Table, name: str | None) -> pa.Array:
    if name is None or name not in rows.column_names:
        return pa.nulls(rows.num_rows, TIME)
    times, _ = cast_column(rows.column(name).combine_chunks(), TIME)
    return times


def _user_column(
    rows: pa.Table, was: str | None, kind: pa.DataType, name: str, source: AppendSource
) -> pa.Array:
    """The column in the type that it has now; null where the release has no such column."""
    if was is None or was not in rows.column_names:
        return pa.nulls(rows.num_rows, kind)
    column, bad = cast_column(rows.column(was).combine_chunks(), kind)
    if bad:
        row, value = next(iter(bad.items()))
        key, uri = (rows.column(c)[row].as_py() for c in ("key", "uri"))
        raise UsageError(
            f"source {source.name!r}, column {name!r}: {shown(value)} of the published record "
            f"{key!r} cannot be read as {kind}, and it stands no more in {uri}; expected a type "
            "that every published value has: leave the column's type, or put the record back"
        )
    return column
