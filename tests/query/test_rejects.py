"""Rejects are grouped by stage and reason, with the first few of each, however they are cut."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.arrow import REJECTS
from tasks.query.rejects import group_rejects, healed


def reject(key: str | None, reason: str, stage: str = "ingest", **more: object) -> dict:
    base = {"source": "docs", "kind": "text", "level": "record", "uri": "/a.csv", "position": 1}
    return {**base, "key": key, "reason": reason, "stage": stage, **more}


ROWS = [
    reject("c", "empty-text", position=9),
    reject("x", "embed-failed", "embed", level="item", id="docs:x#2", detail="it is NaN"),
    reject("a", "empty-text", position=2),
    reject(None, "missing-key", position=4),
    reject("b", "empty-text", position=3),
]


def batches(rows: list[dict], size: int) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(rows, REJECTS).to_batches(max_chunksize=size)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_groups_do_not_depend_on_the_batches(size):
    groups = group_rejects(batches(ROWS, size), examples=2)

    assert [(g.stage, g.level, g.reason, g.count) for g in groups] == [
        ("ingest", "record", "empty-text", 3),
        ("ingest", "record", "missing-key", 1),
        ("embed", "item", "embed-failed", 1),
    ]
    assert [e.key for e in groups[0].examples] == ["a", "b"]
    assert groups[1].examples[0].key is None
    assert groups[2].examples[0].id == "docs:x#2"
    assert groups[0].meaning == "the text is null, empty or blank"


def test_nothing_rejected():
    assert group_rejects([]) == ()
    assert group_rejects(batches([], 10)) == ()


def test_a_failing_expectation_says_what_its_name_is():
    groups = group_rejects(batches([reject("a", "expectation:expect_x", "validate")], 1))
    assert "expectation" in groups[0].meaning


def test_attempts_are_told_and_one_where_a_build_has_none_yet():
    plain = batches(ROWS[:1], 1)
    counted = [b.append_column("attempts", pa.array([3], pa.int32())) for b in plain]
    for given, expected in ((plain, 1), (counted, 3)):
        [group] = group_rejects(given)
        assert [e.attempts for e in group.examples] == [expected]


@pytest.mark.parametrize(
    ("reason", "retriable"),
    [
        ("unreadable-file", True),
        ("corrupt-image", True),
        ("embed-failed", True),
        ("empty-text", False),
        ("repeated-key", False),
        ("expectation:expect_x", False),
    ],
)
def test_which_reasons_may_heal(reason, retriable):
    [group] = group_rejects(batches([reject("a", reason)], 1))
    assert group.retriable is retriable


@pytest.mark.parametrize("size", [1, 100])
def test_healed_is_what_is_not_there_any_more(size):
    def counted(rows):
        table = pa.Table.from_pylist(rows, REJECTS)
        return table.append_column("attempts", pa.array([1] * len(rows), pa.int32())).to_batches(
            max_chunksize=size
        )

    after = [ROWS[0], ROWS[3], reject("a", "malformed-line", position=2)]
    [texts, item] = group_rejects(healed(counted([*ROWS, *ROWS]), counted(after)))
    assert (texts.reason, texts.count) == ("empty-text", 2)
    assert [e.key for e in texts.examples] == ["a", "b"]
    assert (item.examples[0].id, item.examples[0].detail) == ("docs:x#2", "it is NaN")
    assert healed([], counted(after)) == []
