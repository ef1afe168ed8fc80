"""Rows that vecmill did not audit stop the build; indexes follow the rows."""

from __future__ import annotations

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from tasks.publish.publish import manifest_properties, publish
from tasks.publish.stage import discard
from tasks.table import index, transaction
from tasks.table.dataset import TableRef, open_main, open_version
from tasks.table.history import StrangerError
from tasks.table.reconcile import reconcile
from tasks.table.releases import list_releases

TEXTS = {f"note{i}": f"the number {i} in words" for i in range(20)}


def append_by_a_stranger(space) -> None:
    table = open_version(space.ref, "prod").to_table(limit=1)
    ids = pa.array(["docs:foreign"])
    lance.write_dataset(
        table.set_column(0, table.schema.field(0), ids), space.ref.path, mode="append"
    )


def test_a_strangers_append_is_named(space):
    space.publish(TEXTS)
    append_by_a_stranger(space)
    with pytest.raises(StrangerError, match=r"version 4 was written .* \(Append\).*restore\(\)"):
        reconcile(space.ref, "prod")
    assert space.content("prod") == TEXTS


def test_a_strangers_append_while_a_build_is_staged(space):
    space.publish(TEXTS)
    tags = space.tags()
    candidate, manifest = space.stage({**TEXTS, "new": "row"})
    append_by_a_stranger(space)
    with pytest.raises(StrangerError):
        publish(candidate, manifest)
    assert space.tags() == tags


def test_a_strangers_append_after_the_last_look(space, monkeypatch):
    space.publish(TEXTS)
    tags = space.tags()
    candidate, manifest = space.stage({**TEXTS, "new": "row"})
    commit = lance.LanceDataset.commit

    def late(*args, **options):
        append_by_a_stranger(space)
        return commit(*args, **options)

    monkeypatch.setattr(lance.LanceDataset, "commit", late)
    with pytest.raises(StrangerError):
        publish(candidate, manifest)
    monkeypatch.undo()
    assert space.tags() == tags
    with pytest.raises(StrangerError):
        reconcile(space.ref, "prod")


def test_the_way_out_that_the_message_names(space):
    space.publish(TEXTS)
    append_by_a_stranger(space)
    lance.dataset(space.ref.path, version="prod").restore()
    space.publish({**TEXTS, "new": "row"})
    assert space.content("prod") == {**TEXTS, "new": "row"}


def test_a_restore_by_hand_of_an_older_release_is_refused(space):
    space.publish(TEXTS)
    space.publish({"a": "other"})
    lance.dataset(space.ref.path, version="v0001").restore()
    with pytest.raises(StrangerError, match="restored version 3, which is older"):
        reconcile(space.ref, "prod")


def test_a_restore_while_a_build_is_staged_is_a_conflict(space):
    space.publish(TEXTS)
    candidate, manifest = space.stage({**TEXTS, "new": "row"})
    lance.dataset(space.ref.path, version="prod").restore()
    with pytest.raises(transaction.ConflictError):
        publish(candidate, manifest)
    assert space.content("prod") == TEXTS


def test_a_table_of_somebody_else_is_left_alone(tmp_path):
    db = lancedb.connect(str(tmp_path))
    db.create_table("mine", [{"a": 1}])
    with pytest.raises(StrangerError, match="choose another `space`"):
        reconcile(TableRef(str(tmp_path), "mine"), "prod")


def test_compaction_and_settings_by_others_are_welcome(space):
    space.publish(TEXTS)
    space.publish({**TEXTS, "second": "fragment"})
    db_table = lancedb.connect(space.ref.uri).open_table("notes")
    open_main(space.ref).optimize.compact_files()
    open_main(space.ref).update_config({"somebody": "was here"})
    db_table.checkout_latest()
    space.publish({**TEXTS, "second": "changed"})
    assert space.content("prod") == {**TEXTS, "second": "changed"}


def test_full_text_finds_fresh_rows_and_no_removed_ones(space):
    space.publish(TEXTS)
    assert "text" in index.indexed_columns(open_version(space.ref, "prod"))
    space.publish({**TEXTS, "note3": "changed to zebra", "fresh": "a giraffe"} | {})
    later = {k: v for k, v in TEXTS.items() if k != "note7"}
    candidate, manifest = space.stage({**later, "fresh": "an elephant"})
    assert found(space, candidate.version, "elephant") == ["fresh"]
    assert found(space, candidate.version, "7") == []
    publish(candidate, manifest)
    assert found(space, "prod", "elephant") == ["fresh"]
    assert found(space, "prod", "giraffe zebra 7") == []
    assert found(space, "v0002", "giraffe") == ["fresh"]
    stats = open_version(space.ref, "prod").stats.index_stats("text_idx")
    assert stats["num_unindexed_rows"] == 0


def test_the_vector_index_comes_with_the_rows(space, monkeypatch):
    monkeypatch.setattr(index, "VECTOR_INDEX_ROWS", 300)
    many = {f"n{i}": f"text {i}" for i in range(299)}
    space.publish(many)
    assert "vector" not in index.indexed_columns(open_main(space.ref))
    space.publish({**many, "n299": "text 299"})
    indexed = open_version(space.ref, "prod")
    assert indexed.stats.index_stats("vector_idx")["index_type"] == "IVF_FLAT"
    changed = {**many, "n5": "another text", "fresh": "never seen"}
    space.publish(changed)
    assert nearest(space, "never seen") == "fresh"
    assert nearest(space, "another text") == "n5"
    assert nearest(space, "text 5") != "n5"
    space.index = "off"
    space.publish(many)
    assert "vector" not in index.indexed_columns(open_version(space.ref, "prod"))


def test_two_finishers_at_once(space, run_together):
    space.publish(TEXTS)
    candidate, manifest = space.stage({**TEXTS, "new": "row"})
    transaction.commit(candidate.staged, manifest_properties(manifest, candidate.release))
    releases = run_together(lambda: reconcile(space.ref, "prod"), times=4)
    assert {r.name for r in releases} == {"v0002"}
    assert len({r.version for r in releases}) == 1
    assert [r.name for r in list_releases(space.ref)] == ["v0001", "v0002"]


def test_a_release_number_is_taken_once_though_its_tags_are_late(space):
    space.publish(TEXTS)
    one, one_manifest = space.stage({**TEXTS, "one": "1"})
    base = one.base
    transaction.commit(one.staged, manifest_properties(one_manifest, one.release))
    late = transaction.take_base(space.ref, "late")
    assert (base.release, late.release) == (1, 2)
    transaction.release_base(space.ref, "late")


def test_overwrite_with_a_new_column(space):
    space.publish(TEXTS)
    space.columns = [*space.columns, pa.field("year", pa.int32())]
    release = space.publish(TEXTS, overwrite=True)
    dataset = open_version(space.ref, "prod")
    assert dataset.schema.field("year").type == pa.int32()
    assert space.content("prod") == TEXTS
    assert "year" not in open_version(space.ref, "v0001").schema.names
    assert index.indexed_columns(dataset) == {"text": "text_idx"}
    assert release.manifest.counts.rows == 20
    space.publish({**TEXTS, "after": "an update again"})
    assert len(space.content("prod")) == 21


def test_a_refused_overwrite_leaves_nothing(space):
    space.publish(TEXTS)
    files = space.files()
    space.columns = [*space.columns, pa.field("year", pa.int32())]
    candidate, _ = space.stage(TEXTS, overwrite=True)
    discard(candidate)
    assert space.files() == files


def found(space, version, words: str) -> list[str]:
    table = lancedb.connect(space.ref.uri).open_table("notes")
    table.checkout(version)
    hits = table.search(words, query_type="fts").limit(50).to_arrow()
    return sorted(hits["key"].to_pylist())


def nearest(space, text: str) -> str:
    seed = space.vector_of(text)
    table = lancedb.connect(space.ref.uri).open_table("notes")
    table.checkout("prod")
    hits = table.search(np.asarray(seed)).distance_type("cosine").limit(1).to_arrow()
    return hits["key"].to_pylist()[0]
