"""`mode: append` with `time`: the table carries the time, since a record outlives its file."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.load import parse_spec
from schemas.mistakes import SpecError


def spec_with(**options: Any) -> dict[str, Any]:
    source = {"name": "docs", "kind": "text", "path": "d/*.parquet", "key": "id", "text": "body"}
    return {
        "space": "handbook",
        "uri": "./lancedb",
        "sources": [{**source, "mode": "append", **options}],
        "embedder": {"kind": "open-clip", "model": "some/model"},
    }


RIGHT = [
    {},
    {"on_repeat": "latest"},
    {"time": "at", "columns": ["at"]},
    {"time": "at", "columns": ["lang", {"name": "at", "as": "since"}]},
    {"time": "at", "columns": [{"name": "at", "type": "timestamp"}], "on_repeat": "latest"},
    {"time": "at", "columns": [{"name": "at", "type": "date", "as": "day"}, "at"]},
    {"time": "at", "mode": "snapshot", "on_repeat": "latest"},
]


@pytest.mark.parametrize("options", RIGHT, ids=str)
def test_right(tmp_path, options):
    parse_spec(spec_with(**options), tmp_path, "space.yaml")


WRONG = [
    (
        {"time": "at", "columns": ["lang"]},
        "sources[0].time 'at': expected a column that the table carries too: mode append keeps "
        "rows without a file; add it: columns: [at], perhaps under another name with as:",
    ),
    (
        {"time": "at", "columns": [{"name": "seen", "as": "at"}]},
        "sources[0].time 'at': expected a column that the table carries too",
    ),
    (
        {"time": "at", "columns": ["lang", {"name": "at", "type": "date"}]},
        "sources[0].columns[1].type 'date': expected timestamp, string, int64, float64 or none: "
        "any other type loses part of the time; write type: timestamp, or leave it out",
    ),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=["missing", "other name", "a date"])
def test_wrong(tmp_path, options, message):
    with pytest.raises(SpecError) as caught:
        parse_spec(spec_with(**options), tmp_path, "space.yaml")
    [found] = caught.value.mistakes
    assert str(found).startswith(message)
