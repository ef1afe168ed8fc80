"""Rejects are grouped by stage and reason, with the first few of each, however they are cut."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.arrow import REJECTS
from tasks.query.rejects import group_rejects


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
