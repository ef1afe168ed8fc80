"""A disk that is full at whatever byte: a message, nothing published, and with room it goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import lance
import pytest

import made_embedder
from made_words import sentence
from tasks.store.workdir import TEMPORARY
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags

ROOMY = 64 << 10
"""KiB of a disk with room for everything."""

STEPS = [*range(0, 96, 8), *range(96, 512, 24), *range(512, 2048, 128)]
"""KiB free when a build begins: close together where little is written, to break at each stage."""

CAUSES = ("No space left on device", "os error 28")
"""The cause as the system and as Lance say it."""


class SmallDisk:
    """A file system in memory whose size is set in KiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        subprocess.run(
            ["mount", "-o", f"remount,size={size}k", str(self.folder)], check=True, timeout=30
        )

    def leave(self, free: int) -> None:
        """Resize so that `free` KiB are left."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize >> 10
        self.resize(max(used + free, 4))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    """A disk of its own, with room; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("no `mount` here: a small disk cannot be made")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


@pytest.fixture
def long_notes(notes, monkeypatch) -> tuple[object, dict[str, str]]:
    """Six hundred notes of thirty words, embedded without torch, in shards of a hundred."""
    from tasks.plan.shards import PER_SHARD

    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    monkeypatch.setitem(PER_SHARD, "text", 100)
    texts = {f"n{i}": sentence(*range(i, i + 30 + i % 3)) for i in range(600)}
    notes.write({**texts, "blank": ""})
    return notes, texts


def changed(texts: dict[str, str]) -> dict[str, str]:
    """Two hundred edited, one hundred gone, two hundred new."""
    kept = {key: text for i, (key, text) in enumerate(texts.items()) if i >= 100}
    edited = {f"n{i}": sentence(*range(i, i + 60, 2)) for i in range(200, 400)}
    new = {f"m{i}": sentence(*range(i, i + 90, 3)) for i in range(200)}
    return {**kept, **edited, **new}


def rows(space, tag: str = "prod") -> list[dict]:
    """The content columns of a release, in id order, each id once."""
    table = lance.dataset(space.ref.path, version=tag).to_table()
    found = table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return found


WHERE: dict[str, Callable[[str], dict[str, str]]] = {
    "the workdir": lambda disk: {"workdir": disk},
    "the table": lambda disk: {"uri": disk},
    "both": lambda disk: {"uri": f"{disk}/db", "workdir": f"{disk}/work"},
}


@pytest.mark.slow
@pytest.mark.timeout(560)
@pytest.mark.parametrize("first", [True, False], ids=["first build", "second build"])
@pytest.mark.parametrize("where", WHERE)
def test_a_disk_that_fills_up_somewhere(long_notes, small_disk, where, first):
    notes, texts = long_notes
    fresh = dict(notes.changes)
    notes.changes |= WHERE[where](str(small_disk.folder))
    wanted = {**texts, "blank": ""}
    if not first:
        notes.build()
        wanted = {**changed(texts), "blank": ""}
        notes.write(wanted)
    before = [] if first else rows(notes)
    releases = len(list_releases(notes.ref))
    stages: dict[str, str] = {}
    for free in STEPS:
        small_disk.leave(free)
        answer = notes.command("build")
        small_disk.resize(ROOMY)
        if answer.code == 0:
            break
        stage = checked(answer)
        stages.setdefault(stage, answer.err)
        found = list_releases(notes.ref)
        if len(found) > releases:  # committed and tagged: only what comes after it was lacking
            assert stage == "publish", answer.err
            break
        assert ([] if first else rows(notes)) == before
        assert unfinished(notes) == []
    assert stages, "no step was too small"
    print(f"{where}, {'first' if first else 'second'}: {sorted(stages)}, {free} KiB are enough")
    outcome = notes.build()
    assert outcome.exit_code == 0
    assert [r.number for r in list_releases(notes.ref)] == list(range(1, releases + 2))
    assert base_tags(notes.ref) == {}
    small_disk.resize(ROOMY)
    found = rows(notes)
    notes.changes = {**fresh, "uri": "./other-db", "workdir": "./other-work"}
    notes.build()
    assert found == rows(notes)


def checked(answer) -> str:
    """The stage that a full disk's message names, with the cause and what to do."""
    assert answer.code == 1, answer.err
    assert any(cause in answer.err for cause in CAUSES), answer.err
    assert "make room on the disk and run the same command again" in answer.err, answer.err
    [stage] = [line for line in answer.err.splitlines() if line.startswith("  in stage ")]
    return stage.removeprefix("  in stage ")


def unfinished(space) -> list[str]:
    """What only an unfinished build has, in the workdir and the table."""
    work, table = Path(space.spec.workdir), Path(space.ref.path)
    return [
        *(str(path) for path in work.rglob(f"{TEMPORARY}*")),
        *(str(path) for path in work.glob("plans/*")),
        *(str(path) for path in table.glob("_versions/d*")),
        *(base_tags(space.ref) if table.is_dir() else ()),
    ]
