"""A permission refused: a message with stage, cause and next step, and nothing published."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lance
import pytest

from made_words import sentence
from tasks.table.companions import read_builds
from tasks.table.releases import list_releases

REPOSITORY = Path(__file__).parents[2]

BUILD = """
import sys
import made_embedder
from flows.cli import run

made_embedder.use()
sys.exit(run(["build", sys.argv[1]]))
"""

DROP = "-dac_override,-dac_read_search"
AS_OWNER = ["setpriv", f"--inh-caps={DROP}", f"--bounding-set={DROP}", "--"]
"""Runs a command as root without root's right to pass over modes: they bind it like any owner."""


@pytest.fixture(scope="session")
def bound() -> list[str]:
    """What to put before a command so that modes bind it."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("modes do not bind root, and there is no `setpriv` to make them")
    done = subprocess.run([*AS_OWNER, "true"], capture_output=True, text=True, timeout=30)
    if done.returncode:
        pytest.skip(f"modes do not bind root: {done.stderr.strip()}")
    return AS_OWNER


@pytest.fixture
def build(notes, bound) -> Callable[[], subprocess.CompletedProcess]:
    """Run `vecmill build` in a process that modes bind."""

    def run() -> subprocess.CompletedProcess:
        return subprocess.run(
            [*bound, sys.executable, "-c", BUILD, str(notes.spec_file())],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@contextmanager
def forbidden(*paths: Path, mode: int) -> Iterator[None]:
    """Take rights from files and folders for the time of the block."""
    modes = [(path, path.stat().st_mode) for path in paths]
    for path in paths:
        path.chmod(mode)
    try:
        yield
    finally:
        for path, was in modes:
            path.chmod(was)


def folders(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]


PLACES = {
    "work/records": "ingest",
    "work/rejects": "ingest",
    "work/items": "chunk",
    "work/plans": "plan",
    "work/vectors": "embed",
    "db/notes.lance/_refs": "plan",
    "db/notes.lance/data": "stage",
    "db/notes.lance": "plan",
    "db/notes__builds.lance": "publish",
    "work/reports": "publish",
}
"""A folder that may not be written → the stage that needs it."""

COMMITTED = {"db/notes__builds.lance", "work/reports"}
"""What is written when the release is there already."""


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_folder_that_may_not_be_written(notes, texts, build, place):
    notes.build()
    (notes.folder / "work/plans").mkdir(exist_ok=True)
    texts = {**texts, "n3": sentence(300), "fresh": sentence(301)}
    notes.write(texts)
    with forbidden(*folders(notes.folder / place), mode=0o555):
        done = build()
    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr.lower()
    assert f"in stage {PLACES[place]}" in done.stderr
    assert "give the user that vecmill runs as the right to read and write there" in done.stderr
    assert str(notes.folder / place) in done.stderr
    names = ["v0001", "v0002"] if place in COMMITTED else ["v0001"]
    assert [r.name for r in list_releases(notes.ref)] == names
    assert notes.build().manifest.release == "v0002"
    assert notes.content() == {f"docs:{key}": text for key, text in texts.items()}
    assert len(read_builds(notes.ref)) == 2


@pytest.mark.parametrize("where", ["uri", "workdir"])
def test_a_place_where_no_folder_may_be_made(notes, build, where):
    closed = notes.folder / "closed"
    closed.mkdir()
    notes.changes[where] = str(closed / "below")
    with forbidden(closed, mode=0o555):
        done = build()
    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr.lower()
    assert str(closed / "below") in done.stderr
    assert "in stage " in done.stderr
    assert "give the user that vecmill runs as the right to read and write there" in done.stderr
    assert notes.build().manifest.release == "v0001"


def test_a_table_that_may_not_be_read(notes, build):
    notes.build()
    with forbidden(*folders(Path(notes.ref.path)), mode=0o000):
        done = build()
    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr.lower()
    assert "in stage start_up" in done.stderr
    assert [r.name for r in list_releases(notes.ref)] == ["v0001"]


def test_a_source_file_that_may_not_be_read(notes, texts, build):
    """A file is a reject; a whole source refuses, and comes back with its right."""
    notes.build()
    source = notes.folder / "notes.jsonl"
    with forbidden(source, mode=0o000):
        done = build()
    assert done.returncode == 3, done.stderr
    assert "max_reject_share:docs: " in done.stderr
    assert "unreadable-file" in done.stderr
    assert "v0001 stands" in done.stderr
    assert len(lance.dataset(notes.ref.path, version="prod").to_table()) == len(texts)
    assert notes.build().manifest.published is False


def test_a_source_folder_that_may_not_be_listed(notes, texts, build):
    folder = notes.folder / "texts"
    folder.mkdir()
    (folder / "notes.jsonl").write_bytes((notes.folder / "notes.jsonl").read_bytes())
    notes.source(path="texts/")
    notes.build()
    with forbidden(folder, mode=0o000):
        done = build()
    assert done.returncode == 3, done.stderr
    assert "refused by source:docs: source 'docs': cannot list" in done.stderr
    assert "Permission denied" in done.stderr
    assert notes.build().manifest.published is False
    assert len(notes.content()) == len(texts)
