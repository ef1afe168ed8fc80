"""Builds small records parts by hand, for tests of the stages that read them."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import records_schema
from schemas.identity import digest_json
from schemas.refs import RecordsPart, RejectsRef
from tasks.store.workdir import Store


def made_records(
    store: Store,
    texts: dict[str, str],
    *,
    source: str = "docs",
    times: dict[str, datetime] | None = None,
    group: int = 8_192,
) -> RecordsPart:
    """A records part with a text for each key; `group` rows in a row group of its file."""
    keys, count = list(texts), len(texts)
    table = pa.table(
        {
            "row": range(count),
            "source": [source] * count,
            "key": keys,
            "kind": ["text"] * count,
            "uri": [f"{source}.jsonl"] * count,
            "locator": [None] * count,
            "text": list(texts.values()),
            "content_hash": [None] * count,
            "size": [len(text) for text in texts.values()],
            "width": [None] * count,
            "height": [None] * count,
            "time": [(times or {}).get(key) for key in keys],
            "thumbnail": [None] * count,
        },
        schema=records_schema(),
    )
    digest = digest_json([source, texts, str(times), group])
    with store.create("records", digest) as path:
        pq.write_table(table, path, row_group_size=group)
    path = store.path("records", digest)
    return RecordsPart(digest, source, "text", str(path), count, RejectsRef(""))
