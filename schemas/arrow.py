"""The Arrow schemas of what flows between stages, and of the published table.

Work in progress is parquet in the `workdir`; the published table is the contract of DESIGN:
changing `table_schema` changes what other people's programs read.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

HASH = pa.binary(16)

ROW = pa.field("row", pa.int64(), nullable=False)
"""The record's place in its part: (file, row) order, from 0; rejected records have one too."""

LOCATOR = pa.field("locator", pa.string())
"""How the reader finds an image's bytes again inside `uri`; null: the whole file."""

RECORD_FIELDS = [
    ROW,
    pa.field("source", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    LOCATOR,
    pa.field("text", pa.string()),  # canonical text; null for images
    pa.field("content_hash", HASH),  # images: of the file's bytes; null for text until chunked
    pa.field("size", pa.int64(), nullable=False),  # text: code points; image: bytes of the file
    pa.field("width", pa.int32()),  # images, upright; null for text
    pa.field("height", pa.int32()),
    pa.field("time", pa.timestamp("us", tz="UTC")),  # the source's `time` column, or null
    pa.field("thumbnail", pa.binary()),  # JPEG, at most 128 px; null for text or when off
]
RECORD_NAMES = [field.name for field in RECORD_FIELDS]

REJECTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("key", pa.string()),  # null where the record had none
        pa.field("kind", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # record | item
        pa.field("id", pa.string()),  # item id, for items
        pa.field("stage", pa.string(), nullable=False),  # ingest | validate | chunk | embed
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),  # what was wrong and what was expected
        pa.field("uri", pa.string(), nullable=False),
        pa.field("position", pa.int64()),  # line (from 1) or table row (from 0) in the file
        pa.field("part", pa.string()),  # the records part and row, where the record was written
        pa.field("row", pa.int64()),
    ]
)

ITEM_FIELDS = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("chunk", pa.int32(), nullable=False),
    pa.field("start", pa.int32(), nullable=False),
    pa.field("end", pa.int32(), nullable=False),
    pa.field("text", pa.string()),
    pa.field("uri", pa.string(), nullable=False),
    LOCATOR,
    pa.field("content_hash", HASH, nullable=False),
    pa.field("row_hash", HASH, nullable=False),
    pa.field("size", pa.int64(), nullable=False),  # text: code points; image: bytes
    pa.field("time", pa.timestamp("us", tz="UTC")),
    pa.field("thumbnail", pa.binary()),
]

PLAN = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        # new | changed | metadata_only | rejudged | unchanged | removed
        pa.field("class", pa.string(), nullable=False),
        pa.field("content_hash", HASH),
        pa.field("part", pa.string()),  # path of the items file; null for removed
        pa.field("row", pa.int64()),  # position in that file
        pa.field("duplicate_of", pa.string()),
        pa.field("duplicate_kind", pa.string()),
        pa.field("duplicate_score", pa.float32()),
        pa.field("rowaddr", pa.uint64()),  # of the base row with this id; null for new
        pa.field("vector_rowaddr", pa.uint64()),  # of a base row with this content, if any
    ]
)

CONTENTS = pa.schema(
    [
        pa.field("content_hash", HASH, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),  # the items file where it first stands
        pa.field("row", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),  # the item's: what embedding it costs
    ]
)

TABLE_NAMES = [
    *("id", "source", "key", "kind", "chunk", "start", "end", "text", "uri"),
    *("content_hash", "row_hash", "vector", "duplicate_of", "duplicate_kind", "duplicate_score"),
    *("cluster", "x", "y", "thumbnail"),
]
"""The contract's columns, in order; the user's columns follow."""

ROW_HASH_NAMES = ["source", "key", "kind", "chunk", "start", "end", "uri"]
"""What the row hash covers, before the user's columns (by name)."""


def records_schema(columns: Iterable[pa.Field] = ()) -> pa.Schema:
    """The schema of `records/*.parquet`: the fixed fields and the user's `columns`."""
    return pa.schema([*RECORD_FIELDS, *columns])


def items_schema(columns: Iterable[pa.Field] = ()) -> pa.Schema:
    """The schema of `items/*.parquet`: the fixed fields and the user's `columns`."""
    return pa.schema([*ITEM_FIELDS, *columns])


def vectors_schema(dimensions: int) -> pa.Schema:
    """The schema of `vectors/<vector key>/*.parquet`: always float32, whatever is published."""
    return pa.schema(
        [
            pa.field("content_hash", HASH, nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
        ]
    )


def table_schema(
    dimensions: int, vector_type: str = "float16", columns: Iterable[pa.Field] = ()
) -> pa.Schema:
    """The schema of the published table: the contract's columns, then the user's.

    `vector_type` is `float16` or `float32`; user columns are nullable whatever their source says.
    """
    value = {"float16": pa.float16(), "float32": pa.float32()}[vector_type]
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string()),
            pa.field("key", pa.string()),
            pa.field("kind", pa.string()),
            pa.field("chunk", pa.int32()),
            pa.field("start", pa.int32()),
            pa.field("end", pa.int32()),
            pa.field("text", pa.string()),
            pa.field("uri", pa.string()),
            pa.field("content_hash", HASH),
            pa.field("row_hash", HASH),
            pa.field("vector", pa.list_(value, dimensions), nullable=False),
            pa.field("duplicate_of", pa.string()),
            pa.field("duplicate_kind", pa.string()),
            pa.field("duplicate_score", pa.float32()),
            pa.field("cluster", pa.int32()),
            pa.field("x", pa.float32()),
            pa.field("y", pa.float32()),
            pa.field("thumbnail", pa.binary()),
            *(pa.field(field.name, field.type) for field in columns),
        ]
    )
