"""Hits as one JSON document, whatever a user's columns hold."""

from __future__ import annotations

import datetime
import decimal
import json

import pyarrow as pa

from flows.terminal import HIT_FIELDS, hit_documents, print_json
from tasks.query.search import SCORE


def test_any_value_of_a_column_is_json(capsys):
    hits = pa.table({SCORE: pa.array([0.5], pa.float32())} | {name: [None] for name in HIT_FIELDS})
    columns = {
        "list": pa.array([[float("nan"), 1.0]]),
        "struct": pa.array([{"a": float("inf"), "b": [float("-inf")]}]),
        "bytes": pa.array([b"\xff\x00"]),
        "decimal": pa.array([decimal.Decimal("1.50")]),
        "time": pa.array([datetime.datetime(2026, 11, 3, tzinfo=datetime.UTC)]),
        "seconds": pa.array([datetime.timedelta(seconds=3)]),
    }
    for name, column in columns.items():
        hits = hits.append_column(name, column)
    print_json(hit_documents(hits))
    [hit] = json.loads(capsys.readouterr().out)
    assert hit["columns"] == {
        "list": [None, 1.0],
        "struct": {"a": None, "b": [None]},
        "bytes": "ff00",
        "decimal": "1.50",
        "time": "2026-11-03T00:00:00+00:00",
        "seconds": "0:00:03",
    }
