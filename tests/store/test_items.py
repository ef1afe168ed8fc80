"""Items in frames: the same rows however many at a time, and those that stand more than once."""

from __future__ import annotations

import polars as pl
import pytest

from made_items import made_items
from tasks.store.items import item_frames, read_items, repeats
from tasks.store.workdir import Store

COLUMNS = ["id", "key", "content_hash", "size"]


@pytest.fixture
def parts(tmp_path):
    store = Store(str(tmp_path))
    first = made_items(store, {f"a{n}": f"text {n % 5}" for n in range(7)})
    other = made_items(store, {"x": "text 3", "y": "alone"}, source="more")
    return [first, made_items(store, {}, source="none"), other]


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_frames_are_the_items_in_order(parts, rows):
    frames = list(item_frames(parts, COLUMNS, rows))
    assert all(0 < frame.height <= rows for frame in frames)
    assert pl.concat(frames).equals(read_items(parts, COLUMNS))


def test_no_items_no_frames():
    assert list(item_frames([], COLUMNS)) == []


def test_repeats_are_what_stands_more_than_once(parts):
    every = read_items(parts, COLUMNS)
    twice = every.filter(pl.col("content_hash").is_duplicated())
    assert repeats(parts, COLUMNS).equals(twice)
    assert twice["id"].to_list() == [
        "docs:a0",
        "docs:a1",
        "docs:a3",
        "docs:a5",
        "docs:a6",
        "more:x",
    ]


def test_nothing_repeats_in_one_of_each(parts):
    assert repeats(parts[2:], COLUMNS).equals(read_items([], COLUMNS))
