"""Sixty-odd `kill -9` at random moments of builds and upkeep, each followed by a rerun.

A killed process dies at its n-th call into vecmill, n drawn evenly over a whole run (so that the
few calls between commit and tags are met as often as any others), or after a random time (so that
it dies inside Lance and Arrow, too). A reader with lancedb alone polls `prod` all the while.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from made_words import WORDS, sentence
from tasks.table.transaction import base_tags

REPOSITORY = Path(__file__).parents[2]

KILLS = 60
FLOW_KILLS = 8
"""Of builds run as the flow, on one server, besides."""

RECORDS = 120
FILES = 4

CHILD = """
import os, sys, threading, time
spec, log, calls, seconds, *commands = sys.argv[1:]
import made_embedder, numpy as np
from pathlib import Path
import flows.compose, flows.gather, lance, polars
from flows.cli import run
from tasks.plan.shards import PER_SHARD
import tasks.table.index as index

PER_SHARD["text"] = 8
index.VECTOR_INDEX_ROWS = 50
if "PREFECT_API_URL" in os.environ:
    import flows.space_limit
    flows.space_limit.WAIT_SECONDS = 1.0  # the turn of a killed run comes back after minutes

class Counting(made_embedder.WordEmbedder):
    def submit_tokens(self, tokens, rows):
        ids, starts = tokens.ragged(rows)
        ends = [*starts[1:], len(ids)]
        with Path(log).open("a") as file:
            for start, end in zip(starts, ends):
                file.write(" ".join(f"w{i}" for i in ids[start:end]) + "\\n")
        return super().submit_tokens(tokens, rows)

import tasks.embed.embed_shard
tasks.embed.embed_shard.load = Counting

made, ours = 0, tuple(str(Path(flows.compose.__file__).parents[1] / name) for name in
                      ("flows", "tasks", "schemas"))

def count(frame, event, _):
    global made
    if event == "call" and frame.f_code.co_filename.startswith(ours):
        made += 1
        if made == int(calls):
            os.kill(os.getpid(), 9)

if float(seconds):
    threading.Timer(float(seconds), os.kill, (os.getpid(), 9)).start()
threading.setprofile(count)
sys.setprofile(count)
begun = time.perf_counter()
code = max(run([command, spec]) for command in commands)
sys.setprofile(None)
threading.setprofile(None)
print(f"calls {made} seconds {time.perf_counter() - begun}", flush=True)
os._exit(code)  # a timer may still be waiting
"""

READER = """
import hashlib, json, sys, time
from pathlib import Path
import lancedb

uri, stop = sys.argv[1], Path(sys.argv[2])
seen, rounds = set(), 0
print("ready", flush=True)
while not stop.exists():
    table = lancedb.connect(uri).open_table("notes")
    table.checkout("prod")
    rows = table.search().select(["id", "text", "lang"]).limit(10_000).to_arrow().to_pylist()
    state = sorted((row["id"], row["text"], row["lang"]) for row in rows)
    seen.add(hashlib.sha256(json.dumps(state).encode()).hexdigest())
    rounds += 1
    time.sleep(0.01)
print(json.dumps([rounds, sorted(seen)]))
"""


class Campaign:
    """The space's source as it changes, and the processes that build it."""

    def __init__(self, notes, seed: int) -> None:
        self.notes = notes
        self.draw = random.Random(seed)
        self.log = notes.folder / "embedded.txt"
        self.log.touch()
        self.records: dict[str, tuple[str, str]] = {}
        self.states: set[str] = set()
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
            "PREFECT_HOME": str(notes.folder / "no-prefect"),
        }
        notes.changes["sources"] = [
            {
                "name": "docs",
                "kind": "text",
                "path": "sources",
                "key": "key",
                "text": "text",
                "columns": ["lang"],
                "max_shrink": 1,
            }
        ]
        notes.changes["publish"] = {"vector_type": "float32", "keep": 3}
        (notes.folder / "sources").mkdir()
        for number in range(RECORDS):
            self.records[f"k{number}"] = self._record()
        self.write()

    def _record(self) -> tuple[str, str]:
        words = (self.draw.randrange(WORDS) for _ in range(self.draw.randrange(2, 6)))
        return sentence(*words), self.draw.choice(["en", "de", "fr"])

    def change(self) -> None:
        """Edit, add and delete some records; change the column of some."""
        keys = sorted(self.records)
        for key in self.draw.sample(keys, 12):
            self.records[key] = self._record()
        for key in self.draw.sample(keys, 6):
            self.records[key] = (self.records[key][0], self.draw.choice(["en", "de", "fr"]))
        for key in self.draw.sample(keys, 6):
            del self.records[key]
        for _ in range(6):
            self.records[f"k{self.draw.randrange(10_000)}"] = self._record()
        self.write()

    def write(self) -> None:
        files: list[list[str]] = [[] for _ in range(FILES)]
        for key, (text, lang) in sorted(self.records.items()):
            line = json.dumps({"key": key, "text": text, "lang": lang})
            files[int(key[1:]) % FILES].append(line)
        for number, lines in enumerate(files):
            (self.notes.folder / "sources" / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
        self.states.add(_state(self.records))

    def run(self, *commands: str, calls: int = 0, seconds: float = 0.0, **environment: str) -> str:
        """Run the commands in one process; what it printed, or "" where it was killed."""
        known, before = self.stored(), self.log.read_text().splitlines()
        done = subprocess.run(
            [
                *(sys.executable, "-c", CHILD, str(self.notes.spec_file()), str(self.log)),
                *(str(calls), str(seconds), *commands),
            ],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        embedded = self.log.read_text().splitlines()[len(before) :]
        again = {text for text in embedded if _hash(text) in known}
        assert again == set(), f"embedded though their vectors were finished: {sorted(again)[:3]}"
        if done.returncode == -signal.SIGKILL:
            return ""
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def stored(self) -> set[bytes]:
        """Content hashes that have a vector in the workdir."""
        found: set[bytes] = set()
        for path in (self.notes.folder / "work" / "vectors").rglob("*.parquet"):
            if not path.name.startswith(".tmp-"):
                found |= set(pq.read_table(path, columns=["content_hash"])[0].to_pylist())
        return found

    def published(self) -> dict[str, tuple[str, str]]:
        table = lance.dataset(self.notes.ref.path, version="prod").to_table()
        keys = table["key"].to_pylist()
        assert len(keys) == len(set(keys)) == len(set(table["id"].to_pylist()))
        pairs = zip(table["text"].to_pylist(), table["lang"].to_pylist(), strict=True)
        return dict(zip(keys, pairs, strict=True))


def _state(records: dict[str, tuple[str, str]]) -> str:
    state = sorted((f"docs:{key}", *record) for key, record in records.items())
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@contextmanager
def polling(campaign: Campaign) -> Iterator[None]:
    """A reader polls `prod` for the time of the block; it may see complete states alone."""
    script, stop = campaign.notes.folder / "reader.py", campaign.notes.folder / "stop"
    script.write_text(READER)
    reader = subprocess.Popen(
        [sys.executable, "-I", str(script), campaign.notes.spec.uri, str(stop)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline().strip() == "ready"
    yield
    stop.touch()
    out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    rounds, seen = json.loads(out)
    assert rounds > KILLS
    assert len(seen) > KILLS // 4
    assert set(seen) <= campaign.states, "the reader saw a state that was never a whole one"


def content(space) -> tuple[list[dict], np.ndarray]:
    """The content columns of prod in id order, and the vectors."""
    table = lance.dataset(space.ref.path, version="prod").to_table().sort_by("id")
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    return table.drop_columns(["cluster", "x", "y", "vector"]).to_pylist(), vectors


def debris(space) -> list[str]:
    """What no living build needs and nobody reads, by relative path."""
    found = [
        str(path.relative_to(space.folder))
        for root in ("db", "work")
        for path in (space.folder / root).rglob("*")
        if path.is_file()
        and (
            path.name.startswith(".tmp-")
            or path.parent.name in ("plans", "leases", "claims")
            or (path.parent.name == "_versions" and path.name.startswith("d"))
        )
    ]
    for table in sorted((space.folder / "db").glob("*.lance")):
        dataset = lance.dataset(str(table))
        used: set[str] = set()
        for version in dataset.versions():
            then = lance.dataset(str(table), version=version["version"])
            for fragment in then.get_fragments():
                used |= {file.path for file in fragment.data_files()}
        files = {path.name for path in (table / "data").iterdir()} if used else set()
        found += [f"{table.name}: {name}" for name in sorted(files - used)]
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_sixty_times_it_ends_as_if_it_never_was(notes, server):
    campaign = Campaign(notes, seed=1)
    clean = campaign.run("build", "maintain").split()
    calls, seconds = int(clean[-3]), float(clean[-1])
    deaths = {"calls": 0, "seconds": 0, "flow": 0}
    with polling(campaign):
        for turn in range(4 * (KILLS + FLOW_KILLS)):
            if deaths["calls"] + deaths["seconds"] >= KILLS and deaths["flow"] >= FLOW_KILLS:
                break
            campaign.change()
            how, options = "calls", {"calls": campaign.draw.randrange(1, calls)}
            if turn % 3 == 2:
                how, options = "seconds", {"seconds": campaign.draw.uniform(0.01, seconds)}
            environment = {}
            if deaths["flow"] < FLOW_KILLS and turn % 5 == 4:
                how, environment = "flow", {"PREFECT_API_URL": server}
            if campaign.run("build", "maintain", **options, **environment):
                continue  # it was quicker than death
            deaths[how] += 1
            campaign.run("build")
            assert campaign.published() == campaign.records, (turn, how, options)
        campaign.run("build", PREFECT_API_URL=server)
        campaign.run("build", "maintain")
    assert deaths["calls"] + deaths["seconds"] >= KILLS
    assert deaths["flow"] >= FLOW_KILLS
    print(f"{deaths}, {calls} calls, {seconds:.2f} s")

    once = replace(notes, changes={**notes.changes, "uri": "./once-db", "workdir": "./once-work"})
    once.build()
    (rows, vectors), (wanted_rows, wanted_vectors) = content(notes), content(once)
    assert rows == wanted_rows
    assert float((1 - (vectors * wanted_vectors).sum(axis=1)).max()) <= 1e-6
    assert debris(notes) == []
    assert base_tags(notes.ref) == {}
    mine = str(notes.folder)
    assert [p for p in psutil.process_iter(["cmdline"]) if mine in str(p.info["cmdline"])] == []
