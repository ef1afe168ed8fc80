"""Leases: a dead holder is told from a living one, here at once and elsewhere by its heartbeat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.store import leases
from tasks.store.leases import (
    BusyError,
    LeaseLostError,
    hold_alone,
    hold_lease,
    living_leases,
    read_leases,
)

REPOSITORY = Path(__file__).parents[2]


def elsewhere(path: Path, age: float) -> None:
    """Make the lease one of another host, that many seconds after its last sign of life."""
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "host": "elsewhere", "process": 1}))
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - age))


def test_a_lease_lives_as_long_as_its_block(tmp_path):
    with hold_lease(tmp_path, "b1", "notes", "build"):
        [lease] = living_leases(tmp_path, "notes")
        assert (lease.name, lease.space, lease.work) == ("b1", "notes", "build")
        assert living_leases(tmp_path, "other") == []
    assert read_leases(tmp_path) == []


def test_a_killed_process_is_dead_at_once(tmp_path):
    code = """
import os, sys
from tasks.store.leases import hold_lease
with hold_lease(sys.argv[1], "b1", "notes", "build"):
    os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False)
    assert [lease.name for lease in read_leases(tmp_path)] == ["b1"]
    assert living_leases(tmp_path) == []


def test_a_process_id_that_was_given_again_is_another_process(tmp_path):
    with hold_lease(tmp_path, "b1", "notes", "build"):
        path = tmp_path / "leases" / "b1.json"
        said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "started": said["started"] - 3600}))
        assert living_leases(tmp_path) == []


@pytest.mark.parametrize(("age", "lives"), [(leases.TIME_TO_LIVE / 2, True), (1e4, False)])
def test_elsewhere_a_lease_lives_by_its_heartbeat(tmp_path, age, lives):
    with hold_lease(tmp_path, "b1", "notes", "build"):
        elsewhere(tmp_path / "leases" / "b1.json", age)
        assert bool(living_leases(tmp_path)) is lives


def test_the_heartbeat_is_a_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with hold_lease(tmp_path, "b1", "notes", "build"):
        path = tmp_path / "leases" / "b1.json"
        os.utime(path, (0, 0))
        for _ in range(1000):
            if path.stat().st_mtime > 0:
                break
            leases.threading.Event().wait(0.01)
        assert path.stat().st_mtime > 0


def test_the_heart_goes_on_when_a_lease_is_given_back(tmp_path, monkeypatch):
    """A sweeper takes it away, sees that its holder lives, and puts it back."""
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with hold_lease(tmp_path, "b1", "notes", "build"):
        path = tmp_path / "leases" / "b1.json"
        aside = path.rename(path.with_suffix(leases.BURIED))
        leases.threading.Event().wait(0.2)
        os.utime(aside, (0, 0))
        aside.rename(path)
        for _ in range(1000):
            if path.stat().st_mtime > 0:
                break
            leases.threading.Event().wait(0.01)
        assert path.stat().st_mtime > 0


def test_who_lost_its_lease_is_told_before_it_publishes(tmp_path):
    with hold_lease(tmp_path, "b1", "notes", "build") as lease:
        lease.check()
        (tmp_path / "leases" / "b1.json").unlink()
        with pytest.raises(LeaseLostError, match="Nothing was published; run again"):
            lease.check()


def test_alone_means_that_nobody_else_is_at_work_on_the_space(tmp_path):
    with hold_lease(tmp_path, "b1", "notes", "build"):
        with (
            pytest.raises(BusyError, match=r"forget: build b1 of space 'notes' \(process \d+ on "),
            hold_alone(tmp_path, "f1", "notes", "forget"),
        ):
            raise AssertionError
        assert [lease.name for lease in read_leases(tmp_path)] == ["b1"]
        with hold_alone(tmp_path, "f2", "other", "forget"):
            assert len(living_leases(tmp_path)) == 2
