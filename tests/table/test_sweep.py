"""Sweeping a space's tables: nothing of the dead stays, nothing of the living goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from debris import table_debris

from flows.sweeping import sweep
from tasks.store.leases import hold_lease
from tasks.table import sweep as sweeping
from tasks.table.companions import append_event, read_events
from tasks.table.dataset import TableRef, open_main, read_tags
from tasks.table.transaction import base_tags, commit, stage_overwrite, stage_update, take_base

SCHEMA = pa.schema([pa.field("id", pa.string())])


def rows(*ids: str) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pydict({"id": list(ids)}, SCHEMA)]


class Space:
    """A table with one build on main, and builds that are killed on their way."""

    def __init__(self, root: Path, scheme: str = "") -> None:
        self.root = str(root / "work")
        self.folder = root / "db" / "notes.lance"
        self.ref = TableRef(f"{scheme}{root / 'db'}", "notes")
        self.publish("first", "a", "b")

    def publish(self, build: str, *ids: str) -> None:
        from tasks.table.dataset import ensure_table

        ensure_table(self.ref, SCHEMA)
        commit(stage_overwrite(take_base(self.ref, build), rows(*ids), SCHEMA), {})
        open_main(self.ref).tags.delete(f"base-{build}")

    def candidate(self, build: str, *ids: str) -> None:
        """A build that was killed while its candidate was audited."""
        import numpy as np

        base = take_base(self.ref, build)
        gone = np.array([open_main(self.ref).get_fragments()[0].fragment_id << 32], np.uint64)
        stage_update(base, gone, rows(*ids), SCHEMA).commit_candidate()

    def dead(self, name: str, space: str = "notes", table: str | None = None) -> None:
        """The lease that a killed process leaves."""
        table = self.ref.path if table is None else table
        with hold_lease(self.root, name, space, "build", table):
            path = Path(self.root) / "leases" / f"{name}.json"
            said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "started": said["started"] - 3600}))

    def sweep(self):
        with hold_lease(self.root, "own", "notes", "build", self.ref.path):
            return sweep(self.root, self.ref, "own")

    @property
    def leases(self) -> list[str]:
        return sorted(path.name for path in (Path(self.root) / "leases").iterdir())

    @property
    def debris(self) -> list[str]:
        return table_debris(self.folder)

    @property
    def ids(self) -> list[str]:
        return open_main(self.ref).to_table()["id"].to_pylist()


@pytest.fixture
def space(tmp_path) -> Space:
    space = Space(tmp_path)
    Path(space.root).mkdir()
    return space


def age(path: Path, seconds: float) -> None:
    os.utime(path, (0, path.stat().st_mtime - seconds))


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["folder", "object-store"])
def test_a_killed_builds_candidate_goes_with_all_its_files(tmp_path, scheme):
    """By a URI everything goes through Lance, as on an object store."""
    space = Space(tmp_path, scheme)
    assert (space.ref.local is None) is bool(scheme)
    before = space.debris
    space.candidate("b1", "c", "d")
    assert len(space.debris) >= 5  # tag, detached manifest, its transaction, data, deletion file
    space.dead("b1")
    swept = space.sweep()
    assert (swept.leases, swept.table.base_tags, swept.table.candidates) == (("b1",), ("b1",), 1)
    assert swept.table.orphans >= 3
    assert swept.bytes > 0
    assert "1 base tags, 1 candidates" in str(swept)
    assert space.debris == before == []
    assert space.leases == []
    assert space.ids == ["a", "b"]


def test_half_written_files_and_indexes_go(space):
    space.dead("b1")
    folder = space.folder
    half = ["data/.tmpQX7", "data/half.lance", "_indices/11-22/index.idx", "_versions/9.manifest#1"]
    half += ["_transactions/1-x.txn", "_deletions/0-1-5.arrow"]
    for name in half:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("half")
    assert space.sweep().table.orphans == len(half)
    assert space.debris == []
    assert not (folder / "_indices" / "11-22").exists()
    assert space.ids == ["a", "b"]


def test_nothing_is_listed_where_nobody_died(space, monkeypatch):
    space.candidate("b1", "c")  # of a builder that nobody here knows
    monkeypatch.setattr(sweeping, "_list", lambda *_: pytest.fail("listed"))
    assert not space.sweep()
    assert base_tags(space.ref) == {"b1": 2}


def test_a_living_builder_keeps_everything_and_the_dead_is_swept_later(space):
    space.candidate("b1", "c")
    space.dead("b2")
    stray = space.folder / "data" / "stray.lance"
    stray.write_text("of b2")
    with hold_lease(space.root, "b1", "notes", "build", space.ref.path):
        held = space.debris
        swept = space.sweep()
        assert (swept.table.complete, swept.table.orphans) == (False, 0)
        assert space.debris == held
        assert space.leases == ["b1.json", "b2.dead"]
    space.dead("b1")
    assert space.sweep().table.complete
    assert (space.debris, space.leases) == ([], [])


def test_a_builder_that_comes_while_files_are_listed_is_seen(space, monkeypatch):
    space.dead("b2")
    real, arrived = sweeping._list, []

    def late(ref, dataset):
        found = real(ref, dataset)
        if not arrived:
            space.candidate("b1", "c")  # from another workdir: no lease here, but a base tag
            arrived.append(True)
        return [*found, *real(ref, dataset)]

    monkeypatch.setattr(sweeping, "_list", late)
    swept = space.sweep()
    assert (swept.table.complete, swept.table.orphans, swept.table.candidates) == (False, 0, 0)
    assert len(space.debris) >= 5


def test_what_is_committed_while_files_are_listed_stays(space, monkeypatch):
    """Listed before its commit, and committed before the question what main holds."""
    space.dead("b2")
    real = sweeping._list
    staged = stage_overwrite(take_base(space.ref, "b1"), rows("x", "y"), SCHEMA)

    def between(ref, dataset):
        found = real(ref, dataset)
        if ref == space.ref:
            commit(staged, {})
            open_main(ref).tags.delete("base-b1")
        return found

    open_main(space.ref).tags.delete("base-b1")  # unseen by the first look
    monkeypatch.setattr(sweeping, "_list", between)
    monkeypatch.setattr(sweeping, "_foreign_bases", lambda *_: [])
    open_main(space.ref).tags.create("base-b1", 2)
    monkeypatch.setattr(sweeping, "_drop_base_tags", lambda *_: ([], []))
    space.sweep()
    assert space.ids == ["x", "y"]
    assert lance.dataset(space.ref.path).count_rows() == 2


def test_base_tags_of_unknown_builders_stay_a_day(space, monkeypatch):
    space.candidate("b1", "c")
    assert not space.sweep()
    assert base_tags(space.ref) == {"b1": 2}
    later = time.time() + sweeping.TAG_KEPT + 60
    monkeypatch.setattr(sweeping.time, "time", lambda: later)
    swept = space.sweep()
    assert swept.table.base_tags == ("b1",)
    assert space.debris == []
    assert read_tags(open_main(space.ref)) == {}


def test_the_dead_of_another_table_wait_for_its_own_sweeper(space):
    space.dead("b1", space="other")
    space.dead("b2", table="elsewhere/notes.lance")
    assert not space.sweep()
    assert space.leases == ["b1.dead", "b2.dead"]


def test_files_that_came_after_the_death_stay_an_hour(space):
    """Somebody may be making an index or a compaction by other means."""
    space.dead("b1")
    age(Path(space.root) / "leases" / "b1.json", 7200)
    stray = space.folder / "data" / "stray.lance"
    stray.write_text("young")
    assert not space.sweep().table.complete
    assert stray.exists()
    assert space.leases == ["b1.dead"]
    age(stray, sweeping.YOUNG + 60)
    assert space.sweep().table.orphans == 1
    assert space.leases == []


def test_companions_are_appended_to_without_a_lease(space):
    """A file of an append under way is no orphan: it stays for an hour."""
    append_event(space.ref, event="hold", reason="r", who="me")
    space.dead("b1")
    stray = Path(space.ref.companion("builds").path) / "data" / "half.lance"
    stray.write_text("half")
    assert not space.sweep().table.complete
    age(stray, sweeping.YOUNG + 60)
    assert space.sweep().table.complete
    assert not stray.exists()
    assert [event["reason"] for event in read_events(space.ref, "hold")] == ["r"]
