"""Whole builds in processes of their own, over one folder of sources that all of them change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import lance
import pytest

from made_s3 import STORAGE_OPTIONS
from tasks.table.companions import read_builds
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags

REPOSITORY = Path(__file__).parents[2]

BUILDER = """
import json, os, sys
from pathlib import Path
import made_embedder
from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_words import sentence
from schemas.load import load_spec
from schemas.spec import BuildOverrides

spec, folder, number, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
space = load_spec(spec)
space = space.model_copy(update={"workdir": space.workdir + sys.argv[5]})
made_embedder.use()
sys.stdin.readline()
published = 0
for turn in range(rounds):
    # adds a note and edits its last one; a note goes after three rounds
    keys = range(max(turn - 2, 0), turn + 1)
    lines = [
        {"key": f"p{number}-{key}", "text": sentence(number, key, *([turn] * (key < turn)))}
        for key in keys
    ]
    part = folder / f".p{number}.tmp"
    part.write_text("".join(json.dumps(line) + "\\n" for line in lines))
    part.replace(folder / f"p{number}.jsonl")
    outcome = build_space(space, BuildOverrides(yes=True), PlainRunner(StageBars("quiet")))
    assert outcome.exit_code == 0, outcome.message
    published += outcome.manifest.published
print(published)
"""


UPKEEP = """
import sys
from datetime import timedelta
from pathlib import Path
from flows.upkeep import maintain_space
from schemas.load import load_spec
from tasks.table import compaction

compaction.HELD_SHARE, compaction.MANY_SMALL = 100.0, 1  # compact whenever it can be
spec = load_spec(sys.argv[1])
spec = spec.model_copy(update={"workdir": spec.workdir + "-upkeep"})
compacted = 0
while not (Path(sys.argv[1]).parent / "stop").exists():
    done = maintain_space(spec, keep=2, grace=timedelta(0)).tables
    compacted += done.compacted is not None
print(compacted)
"""


@contextmanager
def upkeep(notes) -> Iterator[None]:
    """For the time of the block somebody maintains the space, again and again, elsewhere."""
    maintainer = process(UPKEEP, notes.spec_file())
    yield
    (notes.folder / "stop").touch()
    compacted = int(maintainer.communicate(timeout=120)[0] or -1)
    assert maintainer.returncode == 0
    assert compacted > 0


def process(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
    )


def race(notes, builders: int, rounds: int, bucket=None, apart: bool = False) -> None:
    """Let builders race; what is published then is what a fresh build of the folder gives.

    `apart`: each in a workdir of its own, beside an upkeep that keeps two releases.
    """
    folder = notes.folder / "shared"
    folder.mkdir()
    notes.write({"n0": "w1 w2"})
    (notes.folder / "notes.jsonl").rename(folder / "start.jsonl")
    notes.source(path="shared/*.jsonl", max_shrink=1.0)
    spec = notes.spec_file()
    running = [
        process(BUILDER, spec, folder, i, rounds, f"-{i}" if apart else "") for i in range(builders)
    ]
    for builder in running:
        builder.stdin.write("go\n")
        builder.stdin.flush()
    with upkeep(notes) if apart else nullcontext():
        said = [int(builder.communicate(timeout=560)[0] or -1) for builder in running]
    assert [builder.returncode for builder in running] == [0] * builders
    options = bucket.options if bucket else None
    found = rows(notes.ref.path, options)
    fresh = replace(
        notes,
        changes={
            **notes.changes,
            "uri": "./fresh-db",
            "workdir": "./fresh-work",
            "storage_options": None,
        },
    )
    fresh.build()
    assert found == rows(fresh.ref.path, None)
    assert len(found) == 1 + builders * min(rounds, 3)
    releases = list_releases(notes.ref)
    assert [r.number for r in releases] == list(range(1, sum(said) + 1))[-len(releases) :]
    assert apart or len(releases) == sum(said)
    assert "prod" in releases[-1].tags
    assert base_tags(notes.ref) == {}
    recorded = [b.manifest.build_id for b in read_builds(notes.ref) if b.manifest.published]
    assert len(recorded) == sum(said)
    assert set(recorded) >= {r.manifest.build_id for r in releases}
    print(f"{builders} builders x {rounds} rounds: {sum(said)} releases, each published {said}")


def rows(path: str, options: dict[str, str] | None) -> list[dict]:
    """The content columns of prod, in id order, each id once."""
    table = lance.dataset(path, version="prod", storage_options=options).to_table()
    found = table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whole_builds_over_one_folder(notes):
    race(notes, builders=4, rounds=6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whole_builds_in_workdirs_of_their_own_beside_upkeep(notes):
    race(notes, builders=3, rounds=8, apart=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whole_builds_over_one_folder_and_an_object_store(notes, bucket):
    notes.changes |= {"uri": bucket.uri, "storage_options": STORAGE_OPTIONS}
    race(notes, builders=3, rounds=3, bucket=bucket)
