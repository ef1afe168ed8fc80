"""Builds small items parts by hand, for tests of the stages that read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import ROW_HASH_NAMES, items_schema
from schemas.identity import content_hashes, digest_json, item_id, row_hashes
from schemas.refs import ItemsPart, RejectsRef
from tasks.store.workdir import Store


def made_items(
    store: Store,
    texts: dict[str, str],
    *,
    source: str = "docs",
    times: dict[str, datetime] | None = None,
    columns: Sequence[pa.Field] = (),
    values: dict[str, Sequence[object]] | None = None,
) -> ItemsPart:
    """An items part with one whole-record item for each key → text."""
    keys = list(texts)
    rows = {
        "id": [item_id(source, key, None) for key in keys],
        "source": [source] * len(keys),
        "key": keys,
        "kind": ["text"] * len(keys),
        "chunk": [0] * len(keys),
        "start": [0] * len(keys),
        "end": [len(text) for text in texts.values()],
        "text": list(texts.values()),
        "uri": [f"{source}.jsonl"] * len(keys),
        "locator": [None] * len(keys),
        "size": [len(text) for text in texts.values()],
        "time": [(times or {}).get(key) for key in keys],
        "thumbnail": [None] * len(keys),
        **(values or {}),
    }
    schema = items_schema(columns)
    plain = pa.schema([f for f in schema if f.name not in ("content_hash", "row_hash")])
    table = pa.table(rows, schema=plain)
    user = sorted(field.name for field in columns)
    hashes = {
        "content_hash": content_hashes(texts.values()),
        "row_hash": row_hashes(table, [*ROW_HASH_NAMES, *user]),
    }
    for name, values_ in hashes.items():
        table = table.append_column(schema.field(name), values_)
    digest = digest_json([source, texts, str(times), str(values)])
    with store.create("items", digest) as path:
        pq.write_table(table.select(schema.names), path)
    path = Path(store.path("items", digest))
    return ItemsPart(digest, source, "text", str(path), len(keys), len(keys), 0, RejectsRef(""))
