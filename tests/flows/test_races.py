"""Whole builds in processes of their own, over one folder of sources that all of them change."""

from __future__ import annotations

import os
import subprocess
import sys
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
    outcome = build_space(
        load_spec(spec), BuildOverrides(yes=True), PlainRunner(StageBars("quiet"))
    )
    assert outcome.exit_code == 0, outcome.message
    published += outcome.manifest.published
print(published)
"""


def race(notes, builders: int, rounds: int, bucket=None) -> None:
    """Let builders race; what is published then is what a fresh build of the folder gives."""
    folder = notes.folder / "shared"
    folder.mkdir()
    notes.write({"n0": "w1 w2"})
    (notes.folder / "notes.jsonl").rename(folder / "start.jsonl")
    notes.source(path="shared/*.jsonl", max_shrink=1.0)
    spec = notes.spec_file()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(spec), str(folder), str(i), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        )
        for i in range(builders)
    ]
    for builder in running:
        builder.stdin.write("go\n")
        builder.stdin.flush()
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
    assert [r.number for r in releases] == list(range(1, sum(said) + 1))
    assert "prod" in releases[-1].tags
    assert base_tags(notes.ref) == {}
    recorded = [b.manifest.build_id for b in read_builds(notes.ref) if b.manifest.published]
    assert sorted(recorded) == sorted(r.manifest.build_id for r in releases)
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
def test_whole_builds_over_one_folder_and_an_object_store(notes, bucket):
    notes.changes |= {"uri": bucket.uri, "storage_options": STORAGE_OPTIONS}
    race(notes, builders=3, rounds=3, bucket=bucket)
