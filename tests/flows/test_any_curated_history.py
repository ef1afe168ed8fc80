"""Promise 2 with every tier of duplicates on: any history ends in the marks of a fresh build."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import lance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_embedder
from made_words import sentence

FAMILIES = 3


def text(family: int, edit: int) -> str:
    """A text of a family: edits are a near copy, one in another order of words, one cut short."""
    words = [*range(family * 60, family * 60 + 40)]
    if edit == 1:
        words[20] = 399
    elif edit == 2:  # the same words for the model, and other shingles
        words = words[::-1]
    elif edit == 3:
        words = words[:34]
    elif edit == 4:
        words = [*words[20:], *words[:20]]
        words[5] = 398
    return sentence(*words)


KEYS = [f"k{i}" for i in range(9)]
RECORD = st.tuples(
    st.integers(0, FAMILIES - 1), st.integers(0, 4), st.sampled_from([None, 1, 2, 3])
)
CHANGE = st.dictionaries(
    st.sampled_from([(source, key) for source in ("one", "two") for key in KEYS]),
    st.none() | RECORD,
    min_size=1,
    max_size=8,
)
"""Source and key → family, edit and day of the record, or None: it goes."""

SETTINGS = st.fixed_dictionaries(
    {
        "within": st.sampled_from(["space", "source"]),
        "keep": st.sampled_from([["earliest", "longest"], ["latest"], ["shortest"]]),
        "chunk": st.sampled_from([None, {"max_tokens": 16}]),
        "mode": st.sampled_from(["snapshot", "append"]),
    }
)

number = count()


def write(folder, records: dict[tuple[str, str], tuple[int, int, int | None]], gone: set) -> None:
    """A file for each source and family of keys, without records that are `gone`."""
    folder.mkdir(exist_ok=True)
    for source in ("one", "two"):
        for third in range(3):
            lines = [
                json.dumps({"key": key, "text": text(*edit), "at": day and f"2026-11-{day:02}"})
                for (own, key), (*edit, day) in records.items()
                if own == source and int(key[1:]) % 3 == third and (own, key) not in gone
            ]
            path = folder / f"{source}-{third}.jsonl"
            if lines:
                path.write_text("".join(f"{line}\n" for line in lines))
            else:
                path.unlink(missing_ok=True)


def space(notes, folder: str, chosen: dict[str, Any], mode: str):
    n = next(number)
    sources = [
        {
            "name": name,
            "kind": "text",
            "path": f"{folder}/{name}-*.jsonl",
            "key": "key",
            "text": "text",
            "time": "at",
            "columns": [{"name": "at", "type": "timestamp"}],
            "mode": mode,
            "max_shrink": 1,
        }
        for name in ("one", "two")
    ]
    changes = {
        "sources": sources,
        "chunk": chosen["chunk"],
        "dedupe": {
            "near": {"threshold": 0.6},
            "semantic": {"threshold": 0.95},
            "within": chosen["within"],
            "keep": chosen["keep"],
        },
        "cluster": {"k": 2, "map": "pca"},
        "expectations": {"min_rows": 0, "max_reject_share": 1.0},
        "uri": f"./db{n}",
        "workdir": f"./work{n}",
    }
    return type(notes)(notes.folder, notes.model, changes)


def content(space) -> dict[str, dict]:
    table = lance.dataset(space.ref.path, version="prod").to_table()
    rows = table.drop_columns(["cluster", "x", "y", "uri"]).to_pylist()
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def assert_marks_end_at_kept_rows(rows: dict[str, dict], counts) -> None:
    found = {"exact": 0, "near": 0, "semantic": 0}
    kept = {name for name, row in rows.items() if row["duplicate_of"] is None}
    records = {name.partition("#")[0] for name in kept}
    for row in rows.values():
        if row["duplicate_of"] is not None:
            found[row["duplicate_kind"]] += 1
            assert row["duplicate_of"] in (records if row["duplicate_kind"] == "near" else kept)
    assert counts.duplicates.model_dump() == found
    assert counts.rows == len(rows)


def check(notes, chosen: dict[str, Any], changes: list[dict]) -> None:
    folder = f"sources{next(number)}"
    grown = space(notes, folder, chosen, chosen["mode"])
    records: dict[tuple[str, str], tuple] = {
        (source, f"k{i}"): (i % 3, 0, None) for i, source in ((0, "one"), (1, "two"))
    }
    held: dict[tuple[str, str], tuple] = {}
    for change in changes:
        records |= {key: record for key, record in change.items() if record is not None}
        always = {("one", "k0"), ("two", "k1")}  # a source that is empty is refused
        gone = {key for key, to in change.items() if to is None} - always
        records = {key: record for key, record in records.items() if key not in gone}
        write(notes.folder / folder, records, set())
        dry = grown.build(yes=True, dry_run=True).manifest
        before = content(grown) if held else {}
        made = grown.build(yes=True)
        assert made.exit_code == 0, made.message
        counts = made.manifest.counts
        assert counts.problems() == []
        after = content(grown)
        assert_marks_end_at_kept_rows(after, counts)
        verdict = ("duplicate_of", "duplicate_kind", "duplicate_score")
        rejudged = {
            name
            for name in before.keys() & after.keys()
            if before[name]["row_hash"] == after[name]["row_hash"]
            and before[name]["content_hash"] == after[name]["content_hash"]
            and [before[name][v] for v in verdict] != [after[name][v] for v in verdict]
        }
        assert counts.rejudged == len(rejudged)
        for name in ("rows", "new", "changed", "metadata_only", "removed", "records", "items"):
            assert getattr(dry.counts, name) == getattr(counts, name), name
        held = records if chosen["mode"] == "snapshot" else {**held, **records}
    for overrides in ({"dry_run": True}, {}):
        again = grown.build(**overrides).manifest
        assert (again.published, again.counts.embedded, again.counts.rejudged) == (False, 0, 0)
    other = f"sources{next(number)}"
    write(notes.folder / other, held, set())
    fresh = space(notes, other, chosen, "snapshot")
    fresh.build()
    drop = {"row_hash"}  # the file's own name is in it

    def cut(rows):
        return {n: {k: v for k, v in row.items() if k not in drop} for n, row in rows.items()}

    assert cut(content(grown)) == cut(content(fresh))


any_history = given(chosen=SETTINGS, changes=st.lists(CHANGE, min_size=1, max_size=4))
in_one_folder = [HealthCheck.function_scoped_fixture]


@settings(max_examples=3, deadline=None, suppress_health_check=in_one_folder)
@any_history
def test_any_history_ends_in_the_marks_of_a_fresh_build(notes, monkeypatch, chosen, changes):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    check(notes, chosen, changes)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(max_examples=80, deadline=None, suppress_health_check=in_one_folder)
@any_history
def test_many_histories(notes, monkeypatch, chosen, changes):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    check(notes, chosen, changes)
