"""The log of builds and holds, and the rejects, beside the table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import lancedb
import polars as pl
import pyarrow as pa
import pytest

from schemas.manifest import EmbedderRecord, Manifest
from tasks.store.workdir import RejectsWriter, Store
from tasks.table.companions import (
    TABLE_REJECTS,
    append_build,
    append_rejects,
    count_rejects,
    current_hold,
    read_builds,
    read_rejects,
    release_hold,
    set_hold,
)
from tasks.table.dataset import TableRef


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes")


def manifest(build_id: str, **more) -> Manifest:
    return Manifest(
        space="notes",
        build_id=build_id,
        tag="prod",
        resolved_spec={"it's": "a spec"},
        embedder=EmbedderRecord(
            fingerprint="f", kind="timm", model="m", dimensions=4, precision="fp32", engine="torch"
        ),
        code_version="test",
        started_at=datetime(2026, 11, 20, tzinfo=UTC),
        **more,
    )


def test_builds_are_read_as_they_were_written(ref):
    assert read_builds(ref) == []
    refused = manifest("b1", refused_by=("norm", "collapse:text"))
    append_build(ref, refused)
    append_build(ref, manifest("b2", published=True, release="v0001"), after={"recall": 0.99})
    first, second = read_builds(ref)
    assert first.manifest == refused
    assert second.after == {"recall": 0.99}
    assert [b.manifest.build_id for b in read_builds(ref, "b2")] == ["b2"]
    row = lancedb.connect(ref.uri).open_table("notes__builds").to_arrow().to_pylist()[0]
    assert (row["event"], row["published"], row["refused_by"]) == (
        "build",
        False,
        ["norm", "collapse:text"],
    )


def test_the_last_hold_counts(ref):
    assert current_hold(ref) is None
    set_hold(ref, "audit of March's news", "ada")
    append_build(ref, manifest("b1"))
    hold = current_hold(ref)
    assert hold is not None
    assert (hold.reason, hold.who) == ("audit of March's news", "ada")
    release_hold(ref, "done", "ada")
    assert current_hold(ref) is None
    set_hold(ref, "again", "bob")
    assert current_hold(ref).who == "bob"


def test_concurrent_appends_lose_no_row(ref):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: append_build(ref, manifest(f"b{i}")), range(24)))
    assert sorted(b.manifest.build_id for b in read_builds(ref)) == sorted(
        f"b{i}" for i in range(24)
    )


def rejects_file(tmp_path, name: str, rows: int, **values):
    with RejectsWriter(Store(str(tmp_path)), name, kind="text", uri="/a.csv") as writer:
        for i in range(rows):
            writer.add(stage="ingest", key=f"k{i}", part="p", row=i, **values)
    return writer.ref


def test_rejects_are_appended_with_their_build(ref, tmp_path):
    assert list(read_rejects(ref, "b1")) == []
    refs = [
        rejects_file(tmp_path, "one", 3, source="docs", reason="empty-text"),
        rejects_file(tmp_path, "none", 0),
        rejects_file(tmp_path, "two", 2, source="it's", reason="not-utf8", level="item", id="x"),
    ]
    assert append_rejects(ref, "b1", refs) == 5
    assert append_rejects(ref, "b2", refs[:1]) == 3
    found = pl.DataFrame(pa.Table.from_batches(read_rejects(ref, "b1")))
    assert found.columns == TABLE_REJECTS.names
    assert found["key"].to_list() == ["k0", "k1", "k2", "k0", "k1"]
    assert found["attempts"].to_list() == [1] * 5
    [theirs] = read_rejects(ref, "b1", source="it's")
    assert theirs["reason"].to_pylist() == ["not-utf8"] * 2
    assert sum(b.num_rows for b in read_rejects(ref, "b1", reason="empty-text")) == 3
    assert count_rejects(ref, "b1").rows() == [
        ("docs", "record", "ingest", "empty-text", 3),
        ("it's", "item", "ingest", "not-utf8", 2),
    ]


def test_an_sql_injection_finds_nothing(ref, tmp_path):
    append_rejects(ref, "b1", [rejects_file(tmp_path, "r", 1, source="docs", reason="x")])
    assert sum(b.num_rows for b in read_rejects(ref, "b1' OR 'a' = 'a")) == 0
