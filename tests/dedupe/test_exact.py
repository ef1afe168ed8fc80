"""Exact duplicates: which copy is kept, and that nothing else decides it."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_items import made_items
from schemas.spec import DedupeSpec
from tasks.dedupe.exact import exact_duplicates, mark_exact
from tasks.store.workdir import Store


def day(n: int) -> datetime:
    return datetime(2026, 1, n, tzinfo=UTC)


def marks(path: str) -> list[tuple]:
    return pl.read_parquet(path).rows()


def test_copies_point_to_the_first_id_when_no_time_is_known(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"c": "same", "a": "same", "b": "other"})
    assert marks(mark_exact([part], DedupeSpec(), store)) == [
        ("docs:c", "docs:a", "exact", 1.0),
    ]


def test_the_earliest_copy_is_kept_where_the_source_has_a_time(tmp_path):
    store = Store(str(tmp_path))
    times = {"a": day(9), "b": day(2)}
    part = made_items(store, {"a": "same", "b": "same", "c": "same"}, times=times)
    assert marks(mark_exact([part], DedupeSpec(), store)) == [
        ("docs:a", "docs:b", "exact", 1.0),
        ("docs:c", "docs:b", "exact", 1.0),  # without a time: last
    ]


@pytest.mark.parametrize(
    ("within", "expected"),
    [("space", [("notes:a", "docs:a", "exact", 1.0)]), ("source", [])],
)
def test_within_says_whether_sources_are_compared(tmp_path, within, expected):
    store = Store(str(tmp_path))
    parts = [
        made_items(store, {"a": "same"}, source="docs"),
        made_items(store, {"a": "same"}, source="notes"),
    ]
    assert marks(mark_exact(parts, DedupeSpec(within=within), store)) == expected


def test_switched_off_marks_nothing(tmp_path):
    store = Store(str(tmp_path))
    part = made_items(store, {"a": "same", "b": "same"})
    assert marks(mark_exact([part], DedupeSpec(exact=False), store)) == []


ITEM = st.tuples(
    st.integers(0, 3), st.sampled_from(["docs", "notes"]), st.none() | st.integers(1, 4)
)


@given(st.lists(ITEM, max_size=12), st.randoms(), st.sampled_from(["space", "source"]))
def test_marks_do_not_depend_on_the_order_of_arrival(rows, random, within):
    frame = pl.DataFrame(
        [
            {
                "id": f"{source}:{i}",
                "source": source,
                "kind": "text",
                "content_hash": bytes([content]),
                "size": content,
                "time": None if time is None else day(time),
            }
            for i, (content, source, time) in enumerate(rows)
        ],
        schema={
            "id": pl.String,
            "source": pl.String,
            "kind": pl.String,
            "content_hash": pl.Binary,
            "size": pl.Int64,
            "time": pl.Datetime("us", "UTC"),
        },
    )
    order = list(range(frame.height))
    random.shuffle(order)
    spec = DedupeSpec(within=within)
    marked = exact_duplicates(frame, spec)
    assert marked.equals(exact_duplicates(frame[order], spec))
    kept = set(frame["id"]) - set(marked["id"])
    assert set(marked["duplicate_of"]) <= kept  # a kept row is never itself a duplicate
    groups = ["content_hash"] + (["source"] if within == "source" else [])
    assert len(kept) == frame.n_unique(groups)
