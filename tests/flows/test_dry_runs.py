"""A dry run says what a build would do, whatever it finds, and writes nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_deltas import LAX, Deltas, first_three_days

from made_words import sentence
from tasks.table.companions import set_hold


@pytest.fixture
def deltas(deltas) -> Deltas:
    """The append source of dated files; any share of its records may be rejected."""
    deltas.notes.changes["expectations"] = LAX
    return deltas


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with size and time."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def planned(deltas: Deltas, code: int = 0, **overrides):
    """The counts of a dry run, which left everything as it was."""
    before = everything(deltas.notes.folder)
    outcome = deltas.notes.build(dry_run=True, **overrides)
    assert (outcome.exit_code, everything(deltas.notes.folder)) == (code, before), outcome.message
    return outcome.manifest.counts


def test_of_a_space_that_was_never_built(deltas):
    first_three_days(deltas)
    assert planned(deltas).new == 5


def test_of_a_held_space(deltas):
    first_three_days(deltas)
    deltas.build()
    set_hold(deltas.notes.ref, "look first", "ann")
    assert planned(deltas).unchanged == 5
    deltas.put(4, {"f": sentence(6)})
    assert planned(deltas, code=3).new == 1


def test_of_a_retry(deltas):
    first_three_days(deltas)
    deltas.path(4).write_bytes(b"no parquet")
    deltas.build()
    assert planned(deltas, retry=True).unchanged == 5


@pytest.mark.parametrize("built", [False, True], ids=["the first build", "a later build"])
def test_after_a_build_that_was_killed_between_commit_and_tags(deltas, fails_at, built):
    """The next build finishes it; its records are kept as those of any release."""
    first_three_days(deltas)
    if built:
        deltas.build()
    deltas.put(4, {"f": sentence(6)})
    fails_at(deltas.notes, "tasks.publish.publish.finish")
    deltas.drop(4)
    deltas.put(5, {"g": sentence(7)})
    expected = planned(deltas)
    assert (expected.new, expected.unchanged, expected.removed) == (1, 6, 0)
    counts = deltas.build().manifest.counts
    assert (counts.new, counts.unchanged, counts.removed) == (1, 6, 0)


def test_with_another_tag(deltas):
    first_three_days(deltas)
    deltas.build()
    deltas.drop(1)
    deltas.notes.changes["publish"] = {"tag": "live"}
    expected = planned(deltas)
    assert (expected.new, expected.unchanged, expected.removed) == (0, 5, 0)
