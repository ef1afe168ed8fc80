"""Sweeping a workdir: what the dead had under way goes, everything else stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tasks.store.leases import (
    TIME_TO_LIVE,
    LeaseLostError,
    bury_dead,
    hold_lease,
    living_leases,
    read_buried,
    read_leases,
)
from tasks.store.sweep import UNOWNED_KEPT, SweptFiles, sweep_workdir


@pytest.fixture
def dead(tmp_path):
    """Leave the lease of a process that is gone, as `kill -9` does."""

    def leave(name: str, space: str = "notes") -> Path:
        with hold_lease(tmp_path, name, space, "build"):
            path = tmp_path / "leases" / f"{name}.json"
            said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, "started": said["started"] - 3600}))
        return path

    return leave


def write(root: Path, *names: str, age: float = 0.0) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("four" if "claims" not in name else path.suffix[1:])
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime - age))


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_the_unfinished_of_the_dead_goes_and_what_is_finished_stays(tmp_path, dead):
    dead("b1")
    kept = {"records/r.parquet", "vectors/k/v.parquet", "reports/notes/b1.html"}
    write(tmp_path, *kept)
    write(tmp_path, "records/.tmp-b1-00ff-r2.parquet", "vectors/k/.tmp-b1-00ee-v2.parquet")
    write(tmp_path, "plans/b1.parquet", "plans/b1-contents.parquet", "claims/shard.b1")
    with hold_lease(tmp_path, "b2", "notes", "build"):
        mine = {"items/.tmp-b2-00ff-i.parquet", "plans/b2.parquet", "claims/other.b2"}
        write(tmp_path, *mine)
        buried = bury_dead(tmp_path)
        assert [lease.name for lease in buried] == ["b1"]
        swept = sweep_workdir(tmp_path, {"b1"})
        assert swept == SweptFiles(unfinished=2, plans=2, claims=1, bytes=18)
        assert files(tmp_path) == kept | mine | {"leases/b1.dead", "leases/b2.json"}
        assert sweep_workdir(tmp_path, {"b1"}) == SweptFiles()


def test_names_that_begin_alike_are_others(tmp_path, dead):
    dead("b1")
    write(tmp_path, "plans/b11.parquet", "records/.tmp-b11-00ff-r.parquet", "claims/s.b11")
    with hold_lease(tmp_path, "b11", "notes", "build"):
        bury_dead(tmp_path)
        assert sweep_workdir(tmp_path, {"b1"}) == SweptFiles()


def test_files_of_nobody_stay_a_day(tmp_path):
    young = {"records/.tmp-gone-00ff-r.parquet", "plans/gone.parquet", "claims/s.gone"}
    write(tmp_path, *young, age=UNOWNED_KEPT - 600)
    write(tmp_path, "items/.tmp--00ff-i.parquet", "plans/old.parquet", age=UNOWNED_KEPT + 600)
    write(tmp_path, "records/finished.parquet", age=UNOWNED_KEPT * 30)
    swept = sweep_workdir(tmp_path, ())
    assert swept == SweptFiles(unfinished=1, plans=1, claims=0, bytes=8)
    assert files(tmp_path) == young | {"records/finished.parquet"}


def test_the_old_unfinished_file_of_a_living_builder_stays(tmp_path):
    write(tmp_path, "records/.tmp-b1-00ff-r.parquet", age=UNOWNED_KEPT * 2)
    with hold_lease(tmp_path, "b1", "notes", "build"):
        assert sweep_workdir(tmp_path, ()) == SweptFiles()


def test_a_workdir_that_is_not_there_is_not_made(tmp_path):
    assert bury_dead(tmp_path / "none") == []
    assert sweep_workdir(tmp_path / "none", ()) == SweptFiles()
    assert not (tmp_path / "none").exists()


class TestBurying:
    """A dead lease is taken away from its holder, for good."""

    def test_the_living_keep_theirs(self, tmp_path, dead):
        dead("b1")
        with hold_lease(tmp_path, "b2", "notes", "build") as held:
            assert [lease.name for lease in bury_dead(tmp_path)] == ["b1"]
            assert [lease.name for lease in living_leases(tmp_path)] == ["b2"]
            held.check()
        assert read_leases(tmp_path) == []
        assert [lease.name for lease in read_buried(tmp_path)] == ["b1"]

    def test_what_a_killed_sweeper_buried_is_found_again(self, tmp_path, dead):
        dead("b1").rename(tmp_path / "leases" / "b1.dead")
        assert [lease.name for lease in bury_dead(tmp_path)] == ["b1"]

    def test_whoever_was_buried_alive_is_told_before_it_publishes(self, tmp_path):
        with hold_lease(tmp_path, "b1", "notes", "build") as held:
            path = tmp_path / "leases" / "b1.json"
            said = json.loads(path.read_text())
            path.write_text(json.dumps({**said, "host": "elsewhere"}))
            os.utime(path, (0, 0))  # no sign of life: the host was cut off
            assert [lease.name for lease in bury_dead(tmp_path)] == ["b1"]
            with pytest.raises(LeaseLostError, match="Nothing was published"):
                held.check()

    def test_whoever_checked_just_now_is_not_buried(self, tmp_path, monkeypatch):
        """The sweeper looked, the holder checked, the sweeper took the lease: it gives it back."""
        with hold_lease(tmp_path, "b1", "notes", "build") as held:
            path = tmp_path / "leases" / "b1.json"
            said = json.loads(path.read_text())
            path.write_text(json.dumps({**said, "host": "elsewhere"}))
            os.utime(path, (0, path.stat().st_mtime - 2 * TIME_TO_LIVE))
            real = Path.rename

            def late(self, target):
                if self == path:
                    held.check()
                return real(self, target)

            monkeypatch.setattr(Path, "rename", late)
            assert bury_dead(tmp_path) == []
            held.check()


def test_an_emptied_lease_is_named(tmp_path):
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "b1.json").touch()
    with pytest.raises(Exception, match=r"b1.json is not JSON .* delete it and run again"):
        read_leases(tmp_path)


def test_an_unfinished_folder_goes_whole_with_its_owner_or_after_a_day(tmp_path, dead):
    dead("b1")
    write(tmp_path, "engines/f/.tmp-b1-00ff-openvino/text.xml", "engines/f/openvino/text.xml")
    write(tmp_path, "engines/f/.tmp-export-00aa-onnx/text.onnx")
    write(tmp_path, "engines/f/.tmp-export-00bb-onnx/text.onnx")
    ago = time.time() - UNOWNED_KEPT - 600
    os.utime(tmp_path / "engines/f/.tmp-export-00bb-onnx", (ago, ago))
    swept = sweep_workdir(tmp_path, {"b1"})

    assert swept == SweptFiles(unfinished=2, bytes=8)
    left = {path.name for path in (tmp_path / "engines/f").iterdir()}
    assert left == {"openvino", ".tmp-export-00aa-onnx"}
