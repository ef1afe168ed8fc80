"""Any history of dated files against the rules of `mode: append`, written down in plain Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_embedder
from made_words import sentence

SOURCE = {
    "name": "docs",
    "kind": "text",
    "key": "id",
    "text": ["body"],
    "columns": [{"name": "at", "type": "timestamp"}],
    "time": "at",
}
RULES = [("reject", "append"), ("latest", "append"), ("latest", "snapshot"), ("reject", "snapshot")]

RECORD = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcd"),
        "body": st.sampled_from([sentence(1), sentence(2), sentence(3, 4), sentence(5), " "]),
        "at": st.sampled_from([None, "2026-11-01", "2026-11-02", "2026-11-03"]),
    }
)
CHANGE = st.dictionaries(
    st.integers(1, 4), st.none() | st.lists(RECORD, max_size=4), min_size=1, max_size=3
)
"""Day → what its file holds from now on, or None: the file goes."""

number = count()


@dataclass(frozen=True, order=True)
class Stands:
    """A record: its file's day and its row there decide the order, after its time."""

    time: datetime
    day: int
    row: int
    text: str


NEVER = datetime(1, 1, 1, tzinfo=UTC)


class Model:
    """What the table holds by the rules, record by record."""

    def __init__(self, rule: str, mode: str) -> None:
        self.rule, self.mode = rule, mode
        self.table: dict[str, Stands] = {}

    def build(self, files: dict[int, list[dict[str, Any]]]) -> int:
        """Bring the table up to date; how many records it keeps without their files."""
        held: dict[str, set[int]] = {}
        there: dict[str, list[Stands]] = {}
        for day, records in files.items():
            for row, record in enumerate(records):
                held.setdefault(record["id"], set()).add(day)
                if record["body"].strip():
                    time = datetime.fromisoformat(record["at"]) if record["at"] else NEVER
                    stands = Stands(time.replace(tzinfo=UTC), day, row, record["body"])
                    there.setdefault(record["id"], []).append(stands)
        keys = set(there)
        without = {
            key: old
            for key, old in self.table.items()
            if self.mode == "append" and old.day not in held.get(key, ())
        }
        kept = 0
        table = {}
        for key in keys | set(without):
            rivals = [*there.get(key, []), *([without[key]] if key in without else [])]
            if self.rule == "latest":
                table[key] = max(rivals)
            else:
                table[key] = min(rivals, key=lambda r: (r.day, r.row))
            kept += table[key] is without.get(key)
        self.table = table
        return kept


def write(folder: Path, files: dict[int, list[dict[str, Any]]]) -> None:
    for path in folder.glob("*.jsonl"):
        if int(path.stem[-2:]) not in files:
            path.unlink()
    for day, records in files.items():
        path = folder / f"2026-11-{day:02}.jsonl"
        text = "".join(json.dumps(record) + "\n" for record in records)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def check(notes, rule: str, mode: str, changes: list[dict]) -> None:
    n = next(number)
    folder = notes.folder / f"deltas{n}"
    folder.mkdir()
    source = {**SOURCE, "path": f"deltas{n}/*.jsonl", "mode": mode, "on_repeat": rule}
    space = type(notes)(
        notes.folder,
        notes.model,
        {
            "expectations": {"min_rows": 0, "max_reject_share": 1.0},
            "sources": [{**source, "max_shrink": 1}],
            "uri": f"./db{n}",
            "workdir": f"./work{n}",
        },
    )
    model = Model(rule, mode)
    always = [{"id": "stays", "body": sentence(9), "at": None}]  # an empty source is refused
    files: dict[int, list[dict]] = {5: always}
    for change in changes:
        files |= {day: records for day, records in change.items() if records is not None}
        files = {day: records for day, records in files.items() if change.get(day, 1) is not None}
        write(folder, files)
        kept = model.build(files)
        outcome = space.build(yes=True)
        assert outcome.exit_code == 0, outcome.message
        counts = outcome.manifest.counts
        assert counts.problems() == []
        assert counts.records == sum(map(len, files.values())) + kept
        assert counts.records_used == len(model.table)
        texts = {f"docs:{key}": record.text for key, record in model.table.items()}
        assert space.content() == texts
    tables = notes.folder / f"db{n}"
    before = {path: path.stat().st_size for path in tables.rglob("*")}
    again = space.build()
    assert (again.manifest.published, again.manifest.counts.embedded) == (False, 0)
    assert {path: path.stat().st_size for path in tables.rglob("*")} == before
    assert before


any_change = given(rule=st.sampled_from(RULES), changes=st.lists(CHANGE, min_size=2, max_size=5))
in_one_folder = [HealthCheck.function_scoped_fixture]


@settings(max_examples=8, deadline=None, suppress_health_check=in_one_folder)
@any_change
def test_any_history_of_files_is_what_the_rules_say(notes, monkeypatch, rule, changes):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    check(notes, *rule, changes)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(max_examples=80, deadline=None, suppress_health_check=in_one_folder)
@any_change
def test_many_histories_of_files(notes, monkeypatch, rule, changes):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    check(notes, *rule, changes)
