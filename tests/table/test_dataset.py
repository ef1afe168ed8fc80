"""Opening and making tables, the rows that a plan starts from, LanceDB's metadata."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import lance
import lancedb
import polars as pl
import pyarrow as pa
import pytest

from schemas.arrow import table_schema
from schemas.errors import UsageError, VecmillError
from schemas.refs import EmbedderRef
from tasks.table.dataset import (
    TableRef,
    base_rows,
    embedding_metadata,
    ensure_table,
    exists,
    open_main,
    open_version,
    read_tags,
)

SCHEMA = table_schema(4)
HUB = EmbedderRef(
    kind="sentence-transformers",
    model="sentence-transformers/all-MiniLM-L6-v2",
    folder="/somewhere/here",
    fingerprint="f" * 32,
    dimensions=4,
    engine="torch",
    precision="fp32",
    normalize=True,
    kinds=frozenset({"text"}),
    window=254,
    tokenizer=None,
    tokenizer_digest=None,
    prompt="",
    query_prompt="",
    truncate=None,
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
)


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes")


def test_a_new_table_is_empty_and_opens_in_lancedb(ref):
    assert not exists(ref)
    ensure_table(ref, SCHEMA)
    assert exists(ref)
    table = lancedb.connect(ref.uri).open_table("notes")
    assert table.count_rows() == 0
    assert table.schema.names == SCHEMA.names
    assert open_main(ref).data_storage_version == "2.2"


def test_creators_at_once_make_one_version(ref):
    barrier = Barrier(8)

    def create(_: int) -> int:
        barrier.wait()
        return ensure_table(ref, SCHEMA).version

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(create, range(8))) == [1] * 8
    assert open_main(ref).version == 1


def test_a_missing_table_or_version_is_named(ref):
    with pytest.raises(VecmillError, match=r"no table .notes. at .*db: expected it at"):
        open_main(ref)
    ensure_table(ref, SCHEMA)
    with pytest.raises(VecmillError, match="has no version or tag 'prod'"):
        open_version(ref, "prod")
    with pytest.raises(VecmillError, match="has no version or tag 7"):
        open_version(ref, 7)


def test_base_rows_carry_addresses(ref):
    ensure_table(ref, SCHEMA)
    for start in (0, 3):
        columns = {f.name: pa.nulls(3, f.type) for f in SCHEMA}
        columns["id"] = pa.array([f"s:{i}" for i in range(start, start + 3)])
        columns["content_hash"] = pa.array([bytes([i] * 16) for i in range(3)], pa.binary(16))
        columns["vector"] = pa.array([[0.5] * 4] * 3, SCHEMA.field("vector").type)
        table = pa.Table.from_arrays([columns[f.name] for f in SCHEMA], schema=SCHEMA)
        lance.write_dataset(table, ref.path, mode="append")
    rows = base_rows(open_main(ref))
    assert rows.schema == {
        "id": pl.String,
        "content_hash": pl.Binary,
        "row_hash": pl.Binary,
        "duplicate_of": pl.String,
        "duplicate_kind": pl.String,
        "duplicate_score": pl.Float32,
        "rowaddr": pl.UInt64,
    }
    assert rows["rowaddr"].to_list() == [0, 1, 2, 1 << 32, (1 << 32) + 1, (1 << 32) + 2]
    assert rows["content_hash"][2] == bytes([2] * 16)


def test_base_rows_of_another_table_are_refused(tmp_path):
    lancedb.connect(str(tmp_path)).create_table("mine", [{"a": 1}])
    with pytest.raises(VecmillError, match="no column 'id', so vecmill did not make it"):
        base_rows(open_main(TableRef(str(tmp_path), "mine")))


def test_storage_options_name_variables(monkeypatch):
    ref = TableRef("s3://bucket/db", "notes", (("aws_secret_access_key", "MY_SECRET"),))
    monkeypatch.delenv("MY_SECRET", raising=False)
    with pytest.raises(UsageError, match="aws_secret_access_key: MY_SECRET: no such env"):
        ref.options()
    monkeypatch.setenv("MY_SECRET", "hush")
    assert ref.options() == {"aws_secret_access_key": "hush"}
    assert "hush" not in repr(ref)
    assert ref.path == "s3://bucket/db/notes.lance"


def test_lancedb_knows_how_to_embed_a_query(ref):
    ensure_table(ref, SCHEMA.with_metadata(embedding_metadata(HUB)))
    function = lancedb.connect(ref.uri).open_table("notes").embedding_functions["vector"]
    assert function.source_column == "text"
    assert function.function.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert function.function.trust_remote_code is False
    assert function.function.normalize is True


@pytest.mark.parametrize(
    "change",
    [
        {"hub_id": None},
        {"query_prompt": "query: "},
        {"truncate": 2},
        {"revision": "abc"},
        {"kind": "timm"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_metadata_where_lancedb_would_embed_otherwise(change):
    assert embedding_metadata(replace(HUB, **change)) == {}


class TornTags:
    """Tags of which one is deleted, and one moved, while they are read."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    @property
    def tags(self) -> TornTags:
        return self

    def list(self) -> dict[str, dict[str, int]]:
        if self.errors:
            raise self.errors.pop(0)
        return {"prod": {"version": 3}}


def test_tags_that_change_while_they_are_read_are_read_again():
    torn = RuntimeError("LanceError(Arrow): EOF while parsing an object at line 8 column 0")
    gone = ValueError("Ref not found error: tag base-1 not found")
    assert read_tags(TornTags(gone, torn, torn)) == {"prod": {"version": 3}}
    with pytest.raises(RuntimeError, match="the disk is on fire"):
        read_tags(TornTags(RuntimeError("the disk is on fire")))
