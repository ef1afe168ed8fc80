"""The log of builds and holds, and the rejects, beside the table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import lance
import lancedb
import polars as pl
import pyarrow as pa
import pytest

from schemas.manifest import EmbedderRecord, Manifest
from tasks.store.workdir import RejectsWriter, Store
from tasks.table.attempts import Tally
from tasks.table.companions import (
    TABLE_REJECTS,
    append_build,
    append_rejects,
    copy_rejects,
    count_rejects,
    current_hold,
    read_builds,
    read_rejects,
    release_hold,
    set_hold,
    tally_retry,
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


RETRIED = frozenset({"embed-failed"})


def attempts(ref, build_id: str) -> dict[str, int]:
    found = pl.DataFrame(pa.Table.from_batches(read_rejects(ref, build_id)))
    return dict(found.select("key", "attempts").iter_rows())


def record(ref, tmp_path, build_id: str, reason: str, rows: int, retried=frozenset(), **more):
    refs = [rejects_file(tmp_path, build_id, rows, source="docs", reason=reason)]
    append_rejects(ref, build_id, refs, retried)
    append_build(ref, manifest(build_id, input_hash=build_id, **more))


def test_attempts_are_carried_over_and_counted_by_a_retry(ref, tmp_path):
    record(ref, tmp_path, "b1", "embed-failed", 2)
    record(ref, tmp_path, "b2", "embed-failed", 3, RETRIED)
    assert attempts(ref, "b2") == {"k0": 2, "k1": 2, "k2": 1}  # k2 was not there before
    record(ref, tmp_path, "b3", "embed-failed", 3)
    assert attempts(ref, "b3") == {"k0": 2, "k1": 2, "k2": 1}
    record(ref, tmp_path, "b4", "empty-text", 1, RETRIED)
    assert attempts(ref, "b4") == {"k0": 1}  # another reason is another reject
    record(ref, tmp_path, "b5", "empty-text", 1, RETRIED)
    assert attempts(ref, "b5") == {"k0": 1}  # which this retry does not try


def test_a_build_that_judged_nothing_does_not_lose_the_attempts(ref, tmp_path):
    record(ref, tmp_path, "b1", "embed-failed", 1)
    record(ref, tmp_path, "b2", "embed-failed", 1, RETRIED)
    append_build(ref, manifest("b3", refused_by=("source:docs",)))  # it has no input hash
    append_build(ref, manifest("b4", input_hash="b4", refused_by=("max_reject_share:docs",)))
    record(ref, tmp_path, "b5", "embed-failed", 1, RETRIED)
    assert attempts(ref, "b5") == {"k0": 3}


def test_what_a_retry_tried_and_what_stays(ref, tmp_path):
    record(ref, tmp_path, "b1", "embed-failed", 5)
    now = [rejects_file(tmp_path, "now", 2, source="docs", reason="embed-failed")]
    assert tally_retry(ref, now, RETRIED) == Tally(tried=5, stay=2)
    assert tally_retry(ref, [], RETRIED).healed == 5
    assert tally_retry(ref, now, frozenset({"corrupt-image"})) == Tally()


@pytest.fixture
def before_attempts(ref):
    """A table of rejects from before the column `attempts`, with one row."""
    old = pa.schema([field for field in TABLE_REJECTS if field.name != "attempts"])
    row = {"build_id": "b0", "at": datetime(2026, 1, 1, tzinfo=UTC), "source": "docs"}
    row |= {"key": "k0", "kind": "text", "level": "record", "stage": "ingest"}
    row |= {"reason": "embed-failed", "uri": "/a.csv"}
    path = ref.companion("rejects").path
    lance.write_dataset(pa.Table.from_pylist([row], old), path, data_storage_version="2.2")
    append_build(ref, manifest("b0", input_hash="b0"))
    return ref


def test_a_table_without_attempts_is_read_and_then_upgraded(before_attempts, tmp_path):
    ref = before_attempts
    assert attempts(ref, "b0") == {"k0": 1}
    assert lance.dataset(ref.companion("rejects").path).version == 1  # reading writes nothing
    record(ref, tmp_path, "b1", "embed-failed", 2, RETRIED)
    assert (attempts(ref, "b0"), attempts(ref, "b1")) == ({"k0": 1}, {"k0": 2, "k1": 1})
    stored = lancedb.connect(ref.uri).open_table("notes__rejects").to_arrow()
    assert stored.schema.names == TABLE_REJECTS.names
    assert stored["attempts"].null_count == 0


def test_rejects_of_a_table_without_attempts_are_copied(before_attempts):
    """A rollback's record: it would fail again in every build after it."""
    ref = before_attempts
    copy_rejects(ref, "b0", "b1")
    copy_rejects(ref, "b0", "b1")
    assert (attempts(ref, "b0"), attempts(ref, "b1")) == ({"k0": 1}, {"k0": 1})
    assert count_rejects(ref, "b1")["count"].to_list() == [1]


def test_many_upgrade_at_once(before_attempts, tmp_path):
    ref = before_attempts
    refs = {
        f"b{i}": [rejects_file(tmp_path, f"b{i}", 2, source="docs", reason="x")]
        for i in range(1, 9)
    }
    start = Barrier(len(refs))

    def append(build_id: str) -> int:
        start.wait()
        return append_rejects(ref, build_id, refs[build_id])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(append, refs)) == [2] * 8
    for build_id in refs:
        assert attempts(ref, build_id) == {"k0": 1, "k1": 1}
    names = lance.dataset(ref.companion("rejects").path).schema.names
    assert names.count("attempts") == 1


def test_a_rollback_takes_over_the_rejects_of_a_table_without_attempts(before_attempts):
    copy_rejects(before_attempts, "b0", "b1")
    assert attempts(before_attempts, "b1") == {"k0": 1}
