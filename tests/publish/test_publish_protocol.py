"""Publishing as a user of the table sees it: whole releases, in order, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.publish.publish import manifest_properties, publish
from tasks.publish.stage import discard
from tasks.table import transaction
from tasks.table.dataset import ensure_table, open_main, open_version
from tasks.table.reconcile import reconcile
from tasks.table.releases import list_releases, manifest_of, tagged_release
from tasks.table.transaction import ConflictError, base_tags

TEXTS = {f"note{i}": f"the number {i} in words" for i in range(20)}


def test_the_first_release(space):
    release = space.publish(TEXTS)
    assert (release.number, release.name) == (1, "v0001")
    assert space.content("prod") == TEXTS
    assert space.tags() == {
        "data-v0001": release.data_version,
        "v0001": release.version,
        "prod": release.version,
    }
    assert "prod" in release.tags


def test_every_column_is_filled(space):
    space.publish({"a": "red apple"}, langs={"a": "en"})
    row = open_version(space.ref, "prod").to_table().to_pylist()[0]
    assert row["id"] == "docs:a"
    assert row["lang"] == "en"
    assert row["cluster"] == -1
    assert [n for n, v in row.items() if v is None] == [
        "duplicate_of",
        "duplicate_kind",
        "duplicate_score",
        "x",
        "y",
        "thumbnail",
    ]
    assert np.isclose(np.linalg.norm(np.array(row["vector"], "f4")), 1, atol=1e-3)


def test_an_update_adds_changes_and_removes(space):
    space.publish(TEXTS)
    later = {**TEXTS, "note3": "changed", "extra": "fresh"}
    del later["note5"]
    before = open_main(space.ref).get_fragments()[0].data_files()[0].path
    release = space.publish(later)
    assert space.content("prod") == later
    assert space.content("v0001") == TEXTS
    assert release.number == 2
    kept = open_version(space.ref, "prod").get_fragments()[0].data_files()[0].path
    assert kept == before, "unchanged rows were written again"


def test_vectors_come_from_the_base_when_the_workdir_is_gone(space):
    import shutil

    space.publish({"a": "red apple", "b": "green pear"})
    old = _vectors(space, "prod")
    shutil.rmtree(space.store.root)
    space.publish({"a": "red apple", "moved": "green pear"}, langs={"a": "en"})
    new = _vectors(space, "prod")
    assert np.array_equal(new["a"], old["a"])
    assert np.array_equal(new["moved"], old["b"])


def test_removing_a_whole_fragment_and_then_everything(space):
    space.publish(TEXTS)
    space.publish({**TEXTS, "later": "a second fragment"})
    space.publish({"later": "a second fragment"})
    assert space.content() == {"later": "a second fragment"}
    space.publish({})
    assert space.content() == {}
    space.publish({"again": "from nothing"})
    assert space.content() == {"again": "from nothing"}
    assert [r.number for r in list_releases(space.ref)] == [1, 2, 3, 4, 5]


def test_a_refused_build_leaves_nothing(space):
    space.publish(TEXTS)
    files, tags, version = space.files(), space.tags(), open_main(space.ref).version
    for _ in range(3):
        candidate, _ = space.stage({**TEXTS, "note1": "bad", "new": "bad too"})
        assert open_version(space.ref, candidate.version).count_rows() == 21
        assert space.files() > files
        discard(candidate)
    assert space.files() == files
    assert space.tags() == tags
    assert open_main(space.ref).version == version


def test_a_refused_first_build_leaves_an_empty_table(space):
    ensure_table(space.ref, space.schema)
    files = space.files()
    candidate, _ = space.stage(TEXTS)
    discard(candidate)
    assert space.files() == files
    assert open_main(space.ref).count_rows() == 0


def test_a_conflict_discards_and_a_new_plan_succeeds(space):
    space.publish(TEXTS)
    slow, slow_manifest = space.stage({**TEXTS, "slow": "second"})
    space.publish({**TEXTS, "quick": "first"})
    with pytest.raises(ConflictError, match="another writer committed after version"):
        publish(slow, slow_manifest)
    assert base_tags(space.ref) == {}
    assert space.content() == {**TEXTS, "quick": "first"}
    space.publish({**TEXTS, "quick": "first", "slow": "second"})
    assert len(space.content()) == 22


def test_two_first_builds_conflict(space):
    one, one_manifest = space.stage({"a": "one"}, build_id="one")
    two, two_manifest = space.stage({"a": "two"}, build_id="two")
    publish(two, two_manifest)
    with pytest.raises(ConflictError):
        publish(one, one_manifest)
    assert space.content() == {"a": "two"}


def test_a_build_killed_after_its_commit_is_finished_by_the_next(space):
    space.publish(TEXTS)
    candidate, manifest = space.stage({**TEXTS, "late": "committed, not tagged"})
    properties = manifest_properties(manifest, candidate.release)
    transaction.commit(candidate.staged, properties)
    assert "late" not in space.content("prod")
    release = reconcile(space.ref, "prod")
    assert release is not None
    assert release.name == "v0002"
    assert "late" in space.content("prod")
    assert reconcile(space.ref, "prod") == release, "reconciling twice changes nothing"


def test_a_held_space_is_not_finished(space):
    space.publish(TEXTS)
    candidate, manifest = space.stage({"late": "committed, not tagged"})
    transaction.commit(candidate.staged, manifest_properties(manifest, candidate.release))
    release = reconcile(space.ref, "prod", held=True)
    assert release is not None
    assert release.name == "v0001"
    assert space.content("prod") == TEXTS


def test_committing_twice_is_refused_and_found(space):
    space.publish(TEXTS)
    candidate, manifest = space.stage({**TEXTS, "once": "only once"})
    properties = manifest_properties(manifest, candidate.release)
    first = transaction.commit(candidate.staged, properties)
    assert transaction.commit(candidate.staged, properties) == first
    reconcile(space.ref, "prod")
    assert len(space.content()) == 21


def test_the_manifest_is_in_the_version(space):
    release = space.publish(TEXTS)
    manifest = release.manifest
    assert (manifest.release, manifest.version, manifest.published) == (
        "v0001",
        release.version,
        True,
    )
    assert manifest.counts.rows == 20
    assert manifest_of(space.ref, release.version) == manifest
    assert manifest_of(space.ref, release.data_version) == manifest
    assert tagged_release(space.ref, "prod") == release
    assert tagged_release(space.ref, "nobody") is None


def _vectors(space, version) -> dict[str, np.ndarray]:
    table = open_version(space.ref, version).to_table(columns=["key", "vector"])
    values = np.array(table["vector"].to_pylist(), np.float32)
    return dict(zip(table["key"].to_pylist(), values, strict=True))
