"""The contract: names, types and order of every column, written out."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.arrow import (
    CONTENTS,
    PLAN,
    RECORD_NAMES,
    REJECTS,
    ROW_HASH_NAMES,
    TABLE_NAMES,
    items_schema,
    records_schema,
    table_schema,
    vectors_schema,
)
from schemas.column_names import LANCE_NAMES, RESERVED_NAMES


def described(schema: pa.Schema) -> list[str]:
    """Each field as `name: type`, with `not null` where it is."""
    return [f"{f.name}: {f.type}{'' if f.nullable else ' not null'}" for f in schema]


@pytest.mark.parametrize(("vector_type", "value"), [("float16", "halffloat"), ("float32", "float")])
def test_the_published_table(vector_type: str, value: str) -> None:
    columns = [pa.field("lang", pa.string(), nullable=False), pa.field("year", pa.int64())]
    schema = table_schema(384, vector_type, columns)
    assert described(schema) == [
        "id: string not null",
        "source: string",
        "key: string",
        "kind: string",
        "chunk: int32",
        "start: int32",
        "end: int32",
        "text: string",
        "uri: string",
        "content_hash: fixed_size_binary[16]",
        "row_hash: fixed_size_binary[16]",
        f"vector: fixed_size_list<item: {value}>[384] not null",
        "duplicate_of: string",
        "duplicate_kind: string",
        "duplicate_score: float",
        "cluster: int32",
        "x: float",
        "y: float",
        "thumbnail: binary",
        "lang: string",  # a user's column may always be null
        "year: int64",
    ]


def test_records() -> None:
    assert described(records_schema([pa.field("lang", pa.string())])) == [
        "row: int64 not null",
        "source: string not null",
        "key: string not null",
        "kind: string not null",
        "uri: string not null",
        "locator: string",
        "text: string",
        "content_hash: fixed_size_binary[16]",
        "size: int64 not null",
        "width: int32",
        "height: int32",
        "time: timestamp[us, tz=UTC]",
        "thumbnail: binary",
        "lang: string",
    ]


def test_items() -> None:
    assert described(items_schema([pa.field("lang", pa.string())])) == [
        "id: string not null",
        "source: string not null",
        "key: string not null",
        "kind: string not null",
        "chunk: int32 not null",
        "start: int32 not null",
        "end: int32 not null",
        "text: string",
        "uri: string not null",
        "locator: string",
        "content_hash: fixed_size_binary[16] not null",
        "row_hash: fixed_size_binary[16] not null",
        "size: int64 not null",
        "time: timestamp[us, tz=UTC]",
        "thumbnail: binary",
        "lang: string",
    ]


def test_rejects() -> None:
    assert described(REJECTS) == [
        "source: string not null",
        "key: string",
        "kind: string not null",
        "level: string not null",
        "id: string",
        "stage: string not null",
        "reason: string not null",
        "detail: string",
        "uri: string not null",
        "position: int64",
        "part: string",
        "row: int64",
    ]


def test_vectors_are_float32_whatever_is_published() -> None:
    assert described(vectors_schema(4)) == [
        "content_hash: fixed_size_binary[16] not null",
        "vector: fixed_size_list<item: float>[4] not null",
    ]


def test_the_plan_and_the_contents_to_embed() -> None:
    assert described(PLAN) == [
        "id: string not null",
        "class: string not null",
        "content_hash: fixed_size_binary[16]",
        "part: string",
        "row: int64",
        "duplicate_of: string",
        "duplicate_kind: string",
        "duplicate_score: float",
        "rowaddr: uint64",
        "vector_rowaddr: uint64",
    ]
    assert described(CONTENTS) == [
        "content_hash: fixed_size_binary[16] not null",
        "kind: string not null",
        "part: string not null",
        "row: int64 not null",
        "id: string not null",
        "source: string not null",
        "key: string not null",
        "uri: string not null",
        "size: int64 not null",
    ]


def test_the_row_hash_covers_what_the_design_says() -> None:
    assert ROW_HASH_NAMES == ["source", "key", "kind", "chunk", "start", "end", "uri"]


def test_the_reserved_names_are_those_of_the_schemas() -> None:
    assert set(RESERVED_NAMES) == {*RECORD_NAMES, *items_schema().names, *TABLE_NAMES}
    assert table_schema(2).names == TABLE_NAMES
    assert not LANCE_NAMES & RESERVED_NAMES
