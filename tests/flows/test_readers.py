"""A reader process that polls during a refused build sees nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from made_words import sentence

POLL = """
import json, sys, time
from pathlib import Path
import lancedb

uri, stop = sys.argv[1], Path(sys.argv[2])
seen, rounds = set(), 0
print("ready", flush=True)
while not stop.exists():
    table = lancedb.connect(uri).open_table("notes")
    main = (table.version, table.count_rows())
    tags = {n: t["version"] for n, t in table.tags.list().items() if not n.startswith("base-")}
    table.checkout("prod")
    ids = table.search().select(["id"]).limit(1000).to_arrow()["id"].to_pylist()
    seen.add(json.dumps([main, tags, len(ids), len(set(ids))], sort_keys=True))
    rounds += 1
print(json.dumps([rounds, sorted(seen)]))
"""


def test_a_refused_build_is_never_seen(notes, spoiled, tmp_path):
    notes.build()
    script, stop = tmp_path / "poll.py", tmp_path / "stop"
    script.write_text(POLL)
    reader = subprocess.Popen(
        [sys.executable, "-I", str(script), notes.spec.uri, str(stop)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline().strip() == "ready"
    notes.write({f"n{i}": sentence(i, i + 40, i + 80) for i in range(90)})
    spoiled(lambda vectors: np.tile(vectors[:1], (len(vectors), 1)))
    outcome = notes.build()
    stop.touch()
    rounds, seen = json.loads(reader.communicate(timeout=60)[0])
    assert outcome.exit_code == 3
    assert outcome.manifest.refused_by == ("collapse:text",)
    assert rounds > 5
    version = notes.tags()["prod"]
    standing = {"prod": version, "v0001": version, "data-v0001": notes.tags()["data-v0001"]}
    assert seen == [json.dumps([[version, 30], standing, 30, 30], sort_keys=True)]
