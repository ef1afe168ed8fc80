"""`kill -9` of a real `vecmill build`: run again, it ends as if it never was killed.

The long campaign of kills at random moments is elsewhere; here each moment is aimed at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lance
import pytest
from debris import space_debris

from made_words import sentence
from tasks.table.companions import count_rejects, read_builds
from tasks.table.releases import list_releases

REPOSITORY = Path(__file__).parents[2]

DYING = """
import os, sys
import made_embedder
from flows.cli import run
from importlib import import_module
from tasks.plan.shards import PER_SHARD

spec, place, calls = sys.argv[1:]
made_embedder.use()
PER_SHARD["text"] = 10
owner, _, name = place.rpartition(".")
module = import_module(owner)
real, left = getattr(module, name), int(calls)

def dying(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return real(*arguments, **options)

setattr(module, name, dying)
sys.exit(run(["build", spec]))
"""


def killed(spec: Path, place: str, calls: int = 0) -> None:
    """Run `vecmill build` until `place` was called `calls` times, and kill it at the next."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(spec), place, str(calls)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, (place, done.stdout, done.stderr)


def content(space) -> list[dict]:
    """The content columns of prod, whole, in id order; each id once."""
    table = lance.dataset(space.ref.path, version="prod").to_table()
    rows = table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return rows


def debris(space) -> list[str]:
    """What dead builds left of the space."""
    return space_debris(space.folder / "db", space.folder / "work")


@pytest.mark.timeout(900)  # seven processes, each with its imports, on a busy machine
def test_a_build_killed_again_and_again_ends_as_if_it_never_was(notes, texts):
    notes.write({**texts, "blank": " "})
    spec = notes.spec_file()
    killed(spec, "tasks.ingest.read_part.judge")
    killed(spec, "tasks.embed.embed_shard._write_vectors", 2)
    killed(spec, "tasks.publish.rows._table_batch")
    killed(spec, "tasks.table.transaction._committed")
    assert list_releases(notes.ref) == []
    assert len(debris(notes)) >= 6  # lease, plan, base tag, candidate, its transaction and data
    first = notes.build().manifest
    assert (first.release, first.counts.embedded) == ("v0001", 0)  # all vectors were found
    assert debris(notes) == []

    edited = {**texts, "n3": sentence(300), "n4": texts["n5"], "fresh": sentence(301), "blank": ""}
    del edited["n7"]
    notes.write(edited)
    killed(spec, "tasks.embed.embed_shard._write_vectors", 0)
    killed(spec, "tasks.table.transaction._committed")
    assert len(notes.content()) == 30  # readers saw nothing of all this
    killed(spec, "flows.sweeping.sweep_table")  # a sweeper is killed, too
    killed(spec, "tasks.publish.publish.finish")  # committed, and not tagged
    assert len(notes.content()) == 30
    again = notes.build().manifest
    assert (again.release, again.published) == ("v0002", False)
    assert len(read_builds(notes.ref)) == 2
    assert debris(notes) == []
    stored = count_rejects(notes.ref, list_releases(notes.ref)[-1].manifest.build_id)
    assert stored["reason"].to_list() == ["empty-text"]

    once = replace(notes, changes={"uri": "./other-db", "workdir": "./other-work"})
    once.build()
    assert content(notes) == content(once)
    # what the dead left behind is in nobody's way
    notes.write({**edited, "last": sentence(302)})
    assert notes.build().manifest.release == "v0003"
    assert len(notes.content()) == 31
    assert "base-" not in notes.command("versions").out
