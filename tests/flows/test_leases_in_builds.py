"""A build holds a lease while it is at work, and does not publish once that is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from debris import space_debris

import flows.compose
from made_words import sentence
from schemas.errors import VecmillError
from tasks.store.leases import (
    BusyError,
    LeaseLostError,
    hold_lease,
    living_leases,
    read_leases,
)
from tasks.table.companions import count_rejects, read_builds
from tasks.table.releases import list_releases

REPOSITORY = Path(__file__).parents[2]


def debris(space) -> list[str]:
    return space_debris(space.folder / "db", space.folder / "work")


@pytest.fixture
def during(monkeypatch):
    """Call something right before a step of the build."""

    def plant(step: str, happens) -> None:
        real = getattr(flows.compose, step)

        def late(*arguments, **options):
            happens()
            return real(*arguments, **options)

        monkeypatch.setattr(flows.compose, step, late)

    return plant


def test_a_build_holds_a_lease_until_everything_is_released(notes, during):
    seen = []
    for step in ("find_standing", "publish", "append_build"):
        during(step, lambda: seen.append(living_leases(notes.spec.workdir, "notes")))
    manifest = notes.build().manifest
    assert [[lease.name for lease in leases] for leases in seen] == [[manifest.build_id]] * 3
    assert {(lease.work, lease.table) for [lease] in seen} == {("build", notes.ref.path)}
    assert debris(notes) == []


def test_the_lease_is_the_last_to_go(notes, monkeypatch):
    """What it vouches for (base tag, plan) is gone before it."""
    left = []
    real = flows.job.hold_lease

    class Watched:
        def __init__(self, *arguments):
            self.lease = real(*arguments)

        def __enter__(self):
            return self.lease.__enter__()

        def __exit__(self, *error):
            left.extend(debris(notes))
            return self.lease.__exit__(*error)

    monkeypatch.setattr("flows.job.hold_lease", Watched)
    manifest = notes.build().manifest
    assert left == [f"leases/{manifest.build_id}.json"]


def test_a_dry_run_holds_and_sweeps_nothing(notes, during):
    notes.build()
    during("gather", lambda: seen.extend(read_leases(notes.spec.workdir)))
    seen: list = []
    (notes.folder / "work" / "leases" / "gone.dead").write_text("not even read")
    assert notes.build(dry_run=True).exit_code == 0
    assert seen == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), VecmillError("out of words")])
def test_an_error_releases_the_lease(notes, fails_at, error):
    fails_at(notes, "flows.compose.audit_candidate", error)
    assert debris(notes) == []


def test_while_records_are_erased_nobody_builds(notes, texts):
    notes.build()
    notes.write({**texts, "fresh": sentence(301)})
    for space in ("notes", "other"):  # staged files of another space in the workdir may go, too
        with (
            hold_lease(notes.spec.workdir, "f1", space, "forget"),
            pytest.raises(BusyError, match=rf"build: forget f1 of space '{space}' \(.* run again"),
        ):
            notes.build(yes=True)
    assert notes.build(yes=True).manifest.release == "v0002"


def lose(notes) -> None:
    """What a sweeper does that takes the build for dead."""
    for path in (notes.folder / "work" / "leases").glob("*.json"):
        path.rename(path.with_suffix(".dead"))


@pytest.mark.parametrize("place", ["publish", "append_rejects"])
def test_a_build_that_was_taken_for_dead_never_commits(notes, texts, during, place):
    notes.build()
    before = notes.tags()
    notes.write({**texts, "fresh": sentence(301), "blank": ""})
    during(place, lambda: lose(notes))
    with pytest.raises(LeaseLostError, match="Nothing was published; run again"):
        notes.build()
    assert notes.tags() == before
    assert len(read_builds(notes.ref)) == 1
    [lost] = (notes.folder / "work" / "leases").glob("*.dead")
    assert count_rejects(notes.ref, lost.stem).is_empty()
    assert [p for p in debris(notes) if not p.startswith("leases/")] == []


def test_a_try_again_of_the_commit_checks_again(notes, texts, monkeypatch):
    import lance

    notes.build()
    notes.write({**texts, "fresh": sentence(301)})
    monkeypatch.setattr("tasks.table.transaction.RETRY_SECONDS", 0.0)
    real = lance.LanceDataset.commit

    def stutter(*arguments, **options):
        if options.get("detached"):
            return real(*arguments, **options)
        lose(notes)
        raise OSError("the bucket does not answer")

    monkeypatch.setattr(lance.LanceDataset, "commit", stutter)
    with pytest.raises(LeaseLostError):
        notes.build(yes=True)
    assert [release.name for release in list_releases(notes.ref)] == ["v0001"]


SLOW = """
import sys, time
from pathlib import Path
import made_embedder
from flows.cli import run

def slow(*arguments):
    Path(sys.argv[2]).touch()
    time.sleep(60)

made_embedder.WordEmbedder.submit_tokens = slow
made_embedder.use()
sys.exit(run(["build", sys.argv[1]]))
"""


def test_a_killed_build_leaves_no_process(notes, tmp_path):
    mark, embedding = f"mark-{tmp_path.name}-{time.time_ns()}", tmp_path / "embedding"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(notes.spec_file()), str(embedding)],
        env={
            **{name: value for name, value in os.environ.items() if "PREFECT" not in name},
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
            "MARK": mark,
        },
        stderr=subprocess.DEVNULL,
    )
    while not embedding.exists() and process.poll() is None:
        time.sleep(0.02)
    assert [p.pid for p in marked(mark)] == [process.pid]  # no server, no helper beside it
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert marked(mark) == []
    outcome = notes.build()
    assert outcome.manifest.release == "v0001"
    assert debris(notes) == []


def marked(mark: str) -> list[psutil.Process]:
    """Every process that inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark:
                found.append(process)
        except psutil.Error:
            continue  # another user's, or gone
    return found
