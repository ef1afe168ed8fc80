"""Builders that share a workdir share the embedding, and a rerun after a kill repeats none of it.

Every call of the embedder is counted in a file, by whichever process made it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from made_words import sentence

REPOSITORY = Path(__file__).parents[2]

SHARDS, PER_SHARD = 20, 10

COUNTED = """
import os, sys, time
import made_embedder
from flows.cli import run
from tasks.plan.shards import PER_SHARD

spec, counts, start, seconds = sys.argv[1:]
made_embedder.use()
PER_SHARD["text"] = 10
real = made_embedder.WordEmbedder.submit_tokens

def counted(self, tokens, rows):
    vectors = real(self, tokens, rows)()
    lines = [b"".join(sorted(v.tobytes() for v in vectors)).hex()[:32]]
    with open(counts, "a") as file:
        file.write(f"{lines[0]} {len(rows)}\\n")
    time.sleep(float(seconds))
    return lambda: vectors

made_embedder.WordEmbedder.submit_tokens = counted
print("ready", flush=True)
while not os.path.exists(start):
    time.sleep(0.01)
sys.exit(run(["build", spec, "--yes"]))
"""


def builder(space, seconds: float) -> subprocess.Popen:
    """A process that builds the space when the file `start` appears, `seconds` for each shard."""
    folder = space.folder
    words = [space.spec_file(), folder / "counts", folder / "start", seconds]
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTED, *map(str, words)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def counts(space) -> Counter[str]:
    """Shard (by its vectors) → how often it was given to the embedder, whole."""
    path = space.folder / "counts"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    assert all(int(rows) == PER_SHARD for _, rows in lines)
    return Counter(shard for shard, _ in lines)


def many(notes) -> None:
    notes.write({f"n{i}": sentence(i, i + 7, i * 3) for i in range(SHARDS * PER_SHARD)})


def test_two_builders_compute_each_shard_once_but_for_those_in_flight(notes):
    many(notes)
    both = [builder(notes, 0.3) for _ in range(2)]
    (notes.folder / "start").touch()
    said = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    done = counts(notes)
    assert len(done) == SHARDS
    assert done.total() <= SHARDS + 2
    assert any("were left to other builders" in err for _, err in said), said
    assert len(notes.content()) == SHARDS * PER_SHARD
    manifest = notes.build().manifest
    assert (manifest.release, manifest.published) == ("v0001", False)
    left = [path.name for path in (notes.folder / "work").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".tmp")]
    assert not list((notes.folder / "work" / "claims").iterdir())


def test_a_rerun_after_a_kill_embeds_nothing_that_was_finished(notes):
    many(notes)
    (notes.folder / "start").touch()
    killed = builder(notes, 0.2)
    while counts(notes).total() < 8:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    finished = {path.name for path in (notes.folder / "work" / "vectors").rglob("*.parquet")}
    assert len(finished) >= 7
    again = builder(notes, 0.0)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, (out, err)
    assert "swept what killed builds left" in err
    done = counts(notes)
    assert len(done) == SHARDS
    assert done.total() <= SHARDS + 1  # the one in flight at the kill
    assert not list((notes.folder / "work" / "claims").iterdir())
    assert not list((notes.folder / "work" / "leases").iterdir())
