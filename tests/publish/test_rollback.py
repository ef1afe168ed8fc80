"""Rolling back on the level of Lance: one restore with a manifest, unique numbers, indexes kept."""

from __future__ import annotations

from contextlib import nullcontext

import lance
import pyarrow as pa
import pytest
from lance.dataset import LanceOperation, Transaction

import tasks.table.rollback
from schemas.errors import UsageError
from tasks.publish.publish import publish
from tasks.table.companions import append_build, append_event, current_hold, read_events, set_hold
from tasks.table.dataset import open_main, open_version
from tasks.table.history import RELEASE, StrangerError, read_commit
from tasks.table.index import indexed_columns
from tasks.table.reconcile import finish_rollback, reconcile
from tasks.table.releases import list_releases, tagged_release
from tasks.table.rollback import begin_rollback, pending_rollback, vet_target
from tasks.table.transaction import ConflictError

TEXTS = {f"note{i}": f"the number {i} in words" for i in range(20)}
LATER = {**TEXTS, "note3": "another text", "late": "a later row"}


def begin(space, to: str, name: str = "back", base: str | None = None):
    standing = tagged_release(space.ref, base or "prod")
    target = tagged_release(space.ref, to)
    return begin_rollback(space.ref, name, target, standing, "prod", "why", "ada")


def roll_back(space, to: str, name: str = "back"):
    return finish_rollback(space.ref, begin(space, to, name))


@pytest.fixture
def two(space):
    """Two releases."""
    space.publish(TEXTS)
    space.publish(LATER)
    return space


def test_it_is_one_commit_that_carries_its_manifest(two):
    before = open_main(two.ref).version
    release = roll_back(two, "v0001")
    assert (release.name, release.data_version, release.rollback_to) == (
        *("v0003", before + 1, "v0001"),
    )
    commit = read_commit(open_main(two.ref), release.data_version)
    assert (commit.kind, commit.read, commit.build_id) == ("Restore", before, "back")
    assert commit.restored == two.tags()["v0001"]
    assert two.content() == TEXTS
    manifest = release.manifest
    assert (manifest.base_release, manifest.build_id) == ("v0002", "back")
    counts = manifest.counts
    assert (counts.rows, counts.changed, counts.removed, counts.unchanged) == (20, 1, 1, 19)
    assert reconcile(two.ref, "prod") == release


def test_the_indexes_stay_and_find_the_old_rows(two):
    roll_back(two, "v0001")
    dataset = open_version(two.ref, "prod")
    assert indexed_columns(dataset) == {"text": "text_idx"}
    assert dataset.stats.index_stats("text_idx")["num_unindexed_rows"] == 0

    def words(query: str) -> set[str]:
        found = dataset.scanner(full_text_query=query, columns=["key", "_score"]).to_table()
        return set(found["key"].to_pylist())

    assert words("another") == words("later") == set()
    assert words("3") == {"note3"}
    nearest = {"column": "vector", "q": two.vector_of(TEXTS["note3"]), "k": 1, "metric": "cosine"}
    assert dataset.to_table(columns=["key"], nearest=nearest)["key"].to_pylist() == ["note3"]


def test_a_vector_index_stays(two, monkeypatch):
    monkeypatch.setattr("tasks.table.index.VECTOR_INDEX_ROWS", 1)
    two.publish({**LATER, "more": "one more"})
    two.publish({**TEXTS, "other": "other row"})
    roll_back(two, "v0003")
    dataset = open_version(two.ref, "prod")
    assert indexed_columns(dataset) == {"text": "text_idx", "vector": "vector_idx"}
    nearest = {"column": "vector", "q": two.vector_of("one more"), "k": 1, "metric": "cosine"}
    assert dataset.to_table(columns=["key"], nearest=nearest)["key"].to_pylist() == ["more"]
    two.publish({**LATER, "last": "the last"})
    assert two.content() == {**LATER, "last": "the last"}


def test_another_schema_comes_back(two):
    two.columns = [*two.columns, pa.field("stars", pa.int8())]
    two.publish(LATER, overwrite=True)
    assert "stars" in open_version(two.ref, "prod").schema.names
    release = roll_back(two, "v0002")
    assert "stars" not in open_version(two.ref, "prod").schema.names
    assert two.content() == LATER
    assert indexed_columns(open_version(two.ref, "prod")) == {"text": "text_idx"}
    assert (release.manifest.counts.rows, release.manifest.counts.metadata_only) == (21, 21)
    two.publish(TEXTS, overwrite=True)
    assert "stars" in open_version(two.ref, "prod").schema.names
    assert two.content() == TEXTS


def test_a_build_that_was_under_way_conflicts_and_plans_again(two):
    candidate, manifest = two.stage({**LATER, "mine": "my row"}, build_id="mine")
    roll_back(two, "v0001")
    with pytest.raises(ConflictError, match="another writer committed"):
        publish(candidate, manifest)
    assert two.content() == TEXTS
    assert list_releases(two.ref)[-1].name == "v0003"


@pytest.fixture
def just_before(monkeypatch):
    """Let something happen after a restore has read main, just before it commits."""

    def plant(happens) -> None:
        real = tasks.table.rollback._highest_number

        def late(dataset):
            found = real(dataset)
            monkeypatch.setattr(tasks.table.rollback, "_highest_number", real)
            happens()
            return found

        monkeypatch.setattr(tasks.table.rollback, "_highest_number", late)
        # what happens is of another machine, where no lock of this one is in the way
        monkeypatch.setattr("tasks.table.reconcile._turn", nullcontext)

    return plant


def test_a_build_that_slips_in_keeps_its_number(two, just_before):
    slipped = []
    candidate, manifest = two.stage({**LATER, "mine": "my row"}, build_id="mine")
    just_before(lambda: slipped.append(publish(candidate, manifest)))
    release = roll_back(two, "v0001")
    assert (slipped[0].name, release.name) == ("v0003", "v0004")
    assert two.content() == TEXTS
    assert two.content("v0003") == {**LATER, "mine": "my row"}
    assert two.tags()["prod"] == two.tags()["v0004"] == release.version
    assert reconcile(two.ref, "prod") == release


def test_killed_with_a_number_that_is_taken_it_is_restored_again(two, just_before, monkeypatch):
    candidate, manifest = two.stage({**LATER, "mine": "my row"}, build_id="mine")
    just_before(lambda: publish(candidate, manifest))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tasks.table.rollback, "collides", killed)
        with pytest.raises(KeyboardInterrupt):
            roll_back(two, "v0001")
    release = reconcile(two.ref, "prod", held=True)
    assert (release.name, release.rollback_to) == ("v0004", "v0001")
    assert two.content() == TEXTS
    assert [r.name for r in list_releases(two.ref)] == ["v0001", "v0002", "v0003", "v0004"]


def test_two_at_once_have_numbers_of_their_own(two, run_together):
    waiting = [begin(two, to, f"back{to}") for to in ("v0001", "v0002", "v0001", "v0002")]
    waiting = [
        type(each)(**{**vars(each), "build_id": f"back{i}"}) for i, each in enumerate(waiting)
    ]
    done = run_together(lambda: finish_rollback(two.ref, waiting.pop()), times=4)
    releases = list_releases(two.ref)
    assert [r.number for r in releases] == [1, 2, 3, 4, 5, 6]
    assert sorted(r.name for r in done) == [r.name for r in releases[2:]]
    assert {r.manifest.build_id for r in releases[2:]} == {f"back{i}" for i in range(4)}
    assert two.tags()["prod"] == releases[-1].version
    wanted = TEXTS if releases[-1].rollback_to == "v0001" else LATER
    assert two.content() == wanted


def test_a_commit_that_a_hold_overtook_is_undone(two, monkeypatch):
    candidate, manifest = two.stage({**LATER, "mine": "my row"}, build_id="mine")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.publish.publish.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(candidate, manifest)
    set_hold(two.ref, "wait", "ada")
    release = roll_back(two, "v0001")
    assert release.name == "v0004"  # v0003 was given to the commit that nobody finished
    assert [r.name for r in list_releases(two.ref)] == ["v0001", "v0002", "v0004"]
    assert reconcile(two.ref, "prod") == release
    assert two.content() == TEXTS
    assert two.publish({**TEXTS, "next": "row"}).name == "v0005"


def test_the_intent_is_finished_by_reconcile_once(two):
    begun = begin(two, "v0001")
    assert pending_rollback(two.ref) == begun
    release = reconcile(two.ref, "prod", held=True)
    assert release.rollback_to == "v0001"
    version = open_main(two.ref).version
    assert reconcile(two.ref, "prod", held=True) == release
    assert open_main(two.ref).version == version
    append_build(two.ref, release.manifest)
    assert pending_rollback(two.ref) is None


def test_the_last_intent_counts(two):
    begin(two, "v0001", "first")
    last = begin(two, "v0002", "second")
    assert pending_rollback(two.ref) == last
    append_event(two.ref, event="release-hold", who="ada", reason="")
    assert pending_rollback(two.ref) is None


def test_an_intent_whose_target_went_is_abandoned_and_the_hold_stays(two):
    begin(two, "v0001")
    open_main(two.ref).tags.delete("v0001")
    release = reconcile(two.ref, "prod", held=True)
    assert release.name == "v0002"
    assert pending_rollback(two.ref) is None
    last = read_events(two.ref, "rollback")[-1]
    assert "release v0001, which a rollback of ada wants back, is gone" in last["after"]
    assert current_hold(two.ref).who == "ada"
    with pytest.raises(UsageError, match="is gone"):
        finish_rollback(two.ref, begin_again(two))


def begin_again(space):
    events = read_events(space.ref, "rollback")
    first = events[0]
    return tasks.table.rollback.Rollback(
        *("again", first["release"], "v0002", "prod", 1, "", "ada", first["started_at"])
    )


def test_another_embedding_space_is_refused(two):
    standing, target = tagged_release(two.ref, "prod"), tagged_release(two.ref, "v0001")
    other = target.manifest.embedder.model_copy(update={"fingerprint": "e" * 32})
    manifest = target.manifest.model_copy(update={"embedder": other})
    target = type(target)(**{**vars(target), "manifest": manifest})
    with pytest.raises(UsageError, match=r"v0001 was made by 'mini' with fingerprint eeee"):
        vet_target(two.ref, target, standing)


@pytest.mark.parametrize("properties", [{}, {RELEASE: "9"}], ids=["plain", "with a number"])
def test_a_restore_by_hand_is_refused_as_before(two, properties):
    dataset = open_main(two.ref)
    operation = LanceOperation.Restore(two.tags()["v0001"])
    by_hand = Transaction(dataset.version, operation, transaction_properties=properties)
    lance.LanceDataset.commit(dataset, by_hand)
    with pytest.raises(StrangerError, match="roll back with `vecmill rollback`"):
        reconcile(two.ref, "prod")
