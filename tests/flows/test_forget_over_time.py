"""Forgetting beside what else happens to a space: append sources, rollbacks, shrinking, retries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_deltas import LAX, NOW, Deltas, first_three_days

import flows.forget
from flows.forget import Forgetting, forget_records
from flows.holds import release_space
from flows.rollback import roll_back
from made_words import sentence
from tasks.erase.asked import Request
from tasks.table.companions import read_builds
from tasks.table.releases import list_releases
from tasks.table.rollback import pending_rollback

LEFT = {key: text for key, text in NOW.items() if key != "b"}
"""The first three days without the record that is forgotten."""


@pytest.fixture
def deltas(deltas) -> Deltas:
    """The append source of dated files; any share of its records may be rejected."""
    deltas.notes.changes["expectations"] = LAX
    return deltas


def forget(notes, *keys: str) -> Forgetting:
    outcome = forget_records(notes.spec, Request(keys=keys), yes=True, who="ann")
    assert outcome.exit_code == 0, outcome.message
    return outcome


@pytest.mark.parametrize("gone", [(), (1,), (1, 2), (1, 2, 3)], ids=str)
def test_an_append_source_does_not_bring_it_back(deltas, gone):
    first_three_days(deltas)
    deltas.build()
    deltas.put(4, {"f": sentence(6)})
    deltas.drop(*gone)
    deltas.build()
    forget(deltas.notes, "b")
    assert deltas.texts() == {**LEFT, "f": "w6"}
    deltas.build()
    deltas.put(5, {"b": sentence(99), "g": sentence(7)})
    deltas.build()
    assert deltas.texts() == {**LEFT, "f": "w6", "g": "w7"}
    shutil.rmtree(deltas.notes.folder / "work")
    deltas.build()
    assert deltas.texts() == {**LEFT, "f": "w6", "g": "w7"}


@pytest.mark.parametrize("gone", [(), (1,), (1, 2)], ids=str)
def test_an_erasure_broken_off_is_kept_out_of_an_append_source(deltas, gone, monkeypatch):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(*gone)

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(flows.forget, "blank_builds", fail)
        with pytest.raises(KeyboardInterrupt):
            forget_records(deltas.notes.spec, Request(keys=("b",)), yes=True, who="ann")
    deltas.build()
    assert deltas.texts() == LEFT
    deltas.again()


@pytest.mark.parametrize("built", [False, True])
def test_taking_forgotten_records_out_of_the_source_is_no_loss(notes, texts, built):
    notes.build()
    chosen = list(texts)[:12]
    forget(notes, *chosen)
    if built:
        notes.write({**texts, "later": sentence(300)})
        assert notes.build().manifest.sources[0].forgotten == 12
    notes.write({key: text for key, text in texts.items() if key not in chosen})
    outcome = notes.build()
    assert outcome.exit_code == 0, outcome.message
    assert len(notes.content()) == 18


def test_superseded_records_that_are_forgotten_leave_max_shrink_as_it_was(deltas):
    deltas.notes.source(mode="snapshot")
    deltas.put(1, {f"k{i}": sentence(i) for i in range(10)})
    deltas.put(2, {f"k{i}": sentence(i + 20) for i in range(10)})
    deltas.build()
    forget(deltas.notes, *(f"k{i}" for i in range(5)))
    [source] = list_releases(deltas.notes.ref)[-1].manifest.sources
    assert (source.records, source.repeated) == (10, 5)
    deltas.put(1, {f"k{i}": sentence(i) for i in range(5, 8)})
    deltas.put(2, {f"k{i}": sentence(i + 20) for i in range(5, 8)})
    outcome = deltas.notes.build(yes=True)
    assert outcome.manifest.refused_by == ("max_shrink:docs",), outcome.message


def test_a_rollback_that_was_killed_is_finished_and_recorded_before(notes, texts):
    notes.build()
    notes.write({**texts, "later": sentence(300)})
    notes.build()
    with pytest.MonkeyPatch.context() as patched:

        def fail(*_, **__):
            raise KeyboardInterrupt

        patched.setattr("flows.rollback.finish_rollback", fail)
        with pytest.raises(KeyboardInterrupt):
            roll_back(notes.spec, None, "why", "ann")
    begun = pending_rollback(notes.ref)
    assert begun is not None
    forget(notes, "later")
    assert pending_rollback(notes.ref) is None
    assert len(read_builds(notes.ref, begun.build_id)) == 1
    names = [release.name for release in list_releases(notes.ref)]
    notes.build()
    release_space(notes.spec, "done", "ann")
    notes.write(texts)
    assert "is up to date" in notes.build().message
    assert [release.name for release in list_releases(notes.ref)] == names


def test_a_build_that_was_killed_before_its_record_has_one(notes, texts, fails_at):
    notes.build()
    notes.write({**texts, "later": sentence(300)})
    fails_at(notes, "flows.compose.append_build")
    forget(notes, "later")
    builds = [build.manifest.release for build in read_builds(notes.ref)]
    assert builds == ["v0001", "v0002", "v0003"]


def test_a_dry_run_writes_nothing_not_even_tombstones(deltas):
    first_three_days(deltas)
    deltas.build()
    forget(deltas.notes, "b")
    for path in (deltas.notes.folder / "work" / "tombstones").glob("*"):
        path.unlink()
    deltas.drop(1)
    before = state(deltas.notes.folder)
    for _ in range(2):
        counts = deltas.build(dry_run=True).manifest.counts
        assert counts.rows == 4
        assert state(deltas.notes.folder) == before
    shutil.rmtree(deltas.notes.folder / "work")
    before = state(deltas.notes.folder)
    deltas.build(dry_run=True)
    assert state(deltas.notes.folder) == before


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below the folder, with size and time."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_attempts_of_others_outlive_an_erasure(notes, texts):
    notes.changes["expectations"] = LAX
    notes.build()
    path = notes.folder / "notes.jsonl"
    path.write_text(path.read_text() + "{broken\n" + json.dumps({"key": "x", "text": " "}) + "\n")
    notes.build()
    notes.command("rejects", "--retry")
    forget(notes, "n3")
    notes.command("rejects", "--retry")
    answer = json.loads(notes.command("rejects", "--json").out)
    [broken] = [r for r in answer["reasons"] if r["reason"] == "malformed-line"]
    assert broken["examples"][0]["attempts"] == 3
