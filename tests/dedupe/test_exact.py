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


def near_file(tmp_path, marks: dict[str, str], score: float = 0.8) -> str:
    """Records marked in source docs: key → key of the record kept."""
    path = tmp_path / f"near-{len(marks)}.parquet"
    rows = [
        {"source": "docs", "key": key, "kept_id": f"docs:{kept}", "score": score}
        for key, kept in marks.items()
    ]
    pl.DataFrame(rows).with_columns(pl.col("score").cast(pl.Float32)).write_parquet(path)
    return str(path)


def chunks(store: Store, texts: dict[str, str]):
    """Items `key#n` → text, as chunked records have them."""
    keys = [name.partition("#")[0] for name in texts]
    ids = [f"docs:{name}" for name in texts]
    return made_items(store, texts, values={"id": ids, "key": keys})


def verdicts(items, near: str, store: Store, spec: DedupeSpec | None = None) -> dict[str, tuple]:
    rows = marks(mark_exact([items], spec or DedupeSpec(), store, near))
    return {name: (of, kind, round(score, 3)) for name, of, kind, score in rows}


def test_items_of_a_near_duplicate_point_to_the_record_kept(tmp_path):
    store = Store(str(tmp_path))
    items = chunks(store, {"a#0": "one", "a#1": "two", "b#0": "one!", "b#1": "two!"})
    assert verdicts(items, near_file(tmp_path, {"b": "a"}), store) == {
        "docs:b#0": ("docs:a", "near", 0.8),
        "docs:b#1": ("docs:a", "near", 0.8),
    }


def test_an_equal_item_of_an_unmarked_record_is_kept_whatever_its_place(tmp_path):
    """`a` is the least by id, but it is a near-duplicate: the chunk of `z` stays."""
    store = Store(str(tmp_path))
    items = chunks(store, {"a#0": "same", "a#1": "other", "z#0": "same", "y#0": "more"})
    assert verdicts(items, near_file(tmp_path, {"a": "y"}), store) == {
        "docs:a#0": ("docs:z#0", "exact", 1.0),
        "docs:a#1": ("docs:y", "near", 0.8),
    }


def test_equal_items_of_near_duplicates_alone_are_left_to_them(tmp_path):
    store = Store(str(tmp_path))
    items = chunks(store, {"a#0": "same", "b#0": "same", "c#0": "other"})
    assert verdicts(items, near_file(tmp_path, {"a": "c", "b": "c"}), store) == {
        "docs:a#0": ("docs:c", "near", 0.8),
        "docs:b#0": ("docs:c", "near", 0.8),
    }


def test_without_exact_copies_are_near_duplicates(tmp_path):
    store = Store(str(tmp_path))
    items = chunks(store, {"a": "same", "b": "same"})
    near = near_file(tmp_path, {"b": "a"}, 1.0)
    assert verdicts(items, near, store, DedupeSpec(exact=False)) == {
        "docs:b": ("docs:a", "near", 1.0)
    }
    assert verdicts(items, near, store) == {"docs:b": ("docs:a", "exact", 1.0)}


def test_no_pointer_leads_to_a_marked_row(tmp_path):
    """Items of every combination: what is pointed to by an exact copy is never itself marked."""
    store = Store(str(tmp_path))
    texts = {f"{key}#{n}": f"text {(i + n) % 3}" for i, key in enumerate("abcdef") for n in (0, 1)}
    found = verdicts(chunks(store, texts), near_file(tmp_path, {"a": "d", "e": "d"}), store)
    exact = {of for of, kind, _ in found.values() if kind == "exact"}
    assert exact
    assert not exact & set(found)
    assert {name[5] for name, (_, kind, _) in found.items() if kind == "near"} <= {"a", "e"}
