"""Promise 2 over days: edits, columns, kills, rollbacks and upkeep end in one content.

A kill is a real one: a process of its own dies at its n-th call into vecmill.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import lance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_embedder
from flows.upkeep import maintain_space
from made_words import sentence
from tasks.table.companions import current_hold
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags

REPOSITORY = Path(__file__).parents[2]

KEYS = [f"k{i}" for i in range(8)]

TEXT = st.sampled_from([sentence(1), sentence(1, 2), sentence(3, 4, 5), sentence(6, 7), " "])
RECORD = st.tuples(TEXT, st.sampled_from(["en", "de"]))
CHANGE = st.dictionaries(st.sampled_from(KEYS), st.none() | RECORD, min_size=1, max_size=4)
COLUMNS = st.sampled_from(
    [["lang"], ["lang", "tone"], [{"name": "lang", "as": "language"}], [{"name": "tone"}]]
)
STEP = st.one_of(
    st.tuples(st.just("build"), CHANGE),
    st.tuples(st.just("columns"), COLUMNS),
    st.tuples(st.just("kill"), st.tuples(CHANGE, st.floats(0.02, 0.98))),
    st.tuples(st.just("rollback"), st.none()),
    st.tuples(st.just("release"), st.none()),
    st.tuples(st.just("maintain"), st.integers(1, 3)),
)

CALLS = 3_100
"""About as many calls into vecmill as one of these builds makes (measured: 2,768 to 3,130)."""

DYING = """
import os, sys, threading
import made_embedder, flows.compose, flows.gather
from flows.cli import run
from pathlib import Path

made_embedder.use()
made, deadly, root = 0, int(sys.argv[2]), str(Path(flows.compose.__file__).parents[1])
ours = tuple(f"{root}/{name}/" for name in ("flows", "tasks", "schemas"))

def count(frame, event, _):
    global made
    if event == "call" and frame.f_code.co_filename.startswith(ours):
        made += 1
        if made == deadly:
            os.kill(os.getpid(), 9)

threading.setprofile(count)
sys.setprofile(count)
sys.exit(run(["build", sys.argv[1], "--yes"]))
"""

number = count()


@dataclass
class History:
    """A space that lives through the steps, with what its source and its table should hold."""

    notes: object
    records: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {"stays": (sentence(9), "en")}
    )

    def take(self, step: str, what) -> None:
        getattr(self, step)(what)
        assert self.published_twice() == []

    def build(self, change) -> None:
        self._change(change)
        before, held = self.content(), current_hold(self.notes.ref)
        outcome = self.notes.build(yes=True)
        if held:
            assert outcome.exit_code in (0, 3), outcome.message
            assert self.content() == before
        else:
            assert outcome.exit_code == 0, outcome.message
            assert outcome.manifest.counts.problems() == []
            used = {key: text for key, (text, _) in self.records.items() if text.strip()}
            assert self.texts() == used

    def columns(self, columns) -> None:
        self.notes.source(columns=columns)
        self.build({})

    def kill(self, what) -> None:
        change, moment = what
        self._change(change)
        before = self.content()
        done = subprocess.run(
            [
                *(sys.executable, "-c", DYING, str(self.notes.spec_file())),
                str(int(moment * CALLS)),
            ],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode in (-signal.SIGKILL, 0, 3), done.stderr
        if done.returncode:
            used = {key: text for key, (text, _) in self.records.items() if text.strip()}
            assert self.content() == before or self.texts() == used

    def rollback(self, _) -> None:
        releases = list_releases(self.notes.ref)
        if len(releases) < 2:
            return
        target = releases[-2]
        answer = self.notes.command("rollback", "--to", target.name, "--reason", "a test")
        assert answer.code == 0, answer.err
        assert self.content() == self.content(target.name)
        assert current_hold(self.notes.ref) is not None

    def release(self, _) -> None:
        if current_hold(self.notes.ref) is not None:
            assert self.notes.command("release-hold").code == 0

    def maintain(self, keep: int) -> None:
        """What it does not finish of a killed build it leaves; readers see no difference."""
        before, held = self.content(), current_hold(self.notes.ref)
        maintain_space(self.notes.spec, keep=keep, grace=timedelta(0))
        if held:
            assert self.content() == before
        for release in list_releases(self.notes.ref):
            assert len(self.content(release.name)) == release.manifest.counts.rows

    def _change(self, change) -> None:
        self.records |= {key: record for key, record in change.items() if record is not None}
        gone = {key for key, record in change.items() if record is None}
        self.records = {key: record for key, record in self.records.items() if key not in gone}
        self.notes.write(
            {key: text for key, (text, _) in self.records.items()},
            lang={key: lang for key, (_, lang) in self.records.items()},
            tone={key: lang.upper() for key, (_, lang) in self.records.items()},
        )

    def content(self, tag: str = "prod") -> list[dict] | None:
        if not any("prod" in release.tags for release in list_releases(self.notes.ref)):
            return None
        table = lance.dataset(self.notes.ref.path, version=tag).to_table()
        # the base of a release that a column was renamed in has its columns in another order
        rows = table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
        return [dict(sorted(row.items())) for row in rows]

    def texts(self) -> dict[str, str]:
        return {row["key"]: row["text"] for row in self.content() or ()}

    def published_twice(self) -> list[str]:
        ids = [row["id"] for row in self.content() or ()]
        return sorted({i for i in ids if ids.count(i) > 1})


def live(notes, steps) -> None:
    notes.source(columns=["lang"], max_shrink=1)
    every = {
        "expectations": {"min_rows": 0, "max_reject_share": 1.0},
        "sources": notes.changes["sources"],
    }
    place = next(number)
    grown, fresh = (
        type(notes)(
            notes.folder,
            notes.model,
            {**every, "uri": f"./{name}{place}-db", "workdir": f"./{name}{place}-work"},
        )
        for name in ("grown", "fresh")
    )
    history = History(grown)
    history.build({})
    for step, what in steps:
        history.take(step, what)
    history.release(None)
    history.build({})
    fresh.changes["sources"] = grown.changes["sources"]
    fresh.build()
    assert history.content() == History(fresh).content()
    assert base_tags(grown.ref) == {}
    numbers = [release.number for release in list_releases(grown.ref)]
    assert len(set(numbers)) == len(numbers)
    again = grown.build()
    assert (again.manifest.published, again.manifest.counts.embedded) == (False, 0)


COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=6, **COMMON)
@given(steps=st.lists(STEP, min_size=2, max_size=5))
def test_any_history_of_days(notes, monkeypatch, steps):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    live(notes, steps)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=40, **COMMON)
@given(steps=st.lists(STEP, min_size=4, max_size=12))
def test_many_long_histories_of_days(notes, monkeypatch, steps):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    live(notes, steps)
