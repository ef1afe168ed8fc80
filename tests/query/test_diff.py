"""`diff`: two small tables written by hand, and two releases of a space."""

from __future__ import annotations

import lance
import pyarrow as pa
import pytest

from flows.show_history import around
from tasks.query.diff import ChangedColumn, changed_columns
from tasks.table.changes import count_classes, row_changes

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("content_hash", pa.binary(16)),
        ("row_hash", pa.binary(16)),
        ("duplicate_of", pa.string()),
        ("duplicate_kind", pa.string()),
        ("duplicate_score", pa.float32()),
        ("cluster", pa.int32()),
    ]
)


def row(name, content="c", rest="r", of=None, cluster=-1, source="docs") -> dict:
    return {
        "id": name,
        "source": source,
        "content_hash": content.encode().ljust(16),
        "row_hash": rest.encode().ljust(16),
        "duplicate_of": of,
        "duplicate_kind": None if of is None else "exact",
        "duplicate_score": None if of is None else 1.0,
        "cluster": cluster,
    }


@pytest.fixture
def dataset(tmp_path):
    """Write rows as a dataset of its own."""

    def write(name: str, *rows: dict):
        return lance.write_dataset(pa.Table.from_pylist(list(rows), SCHEMA), tmp_path / name)

    return write


def test_each_row_is_in_the_first_class_that_fits(dataset):
    before = dataset(
        "before",
        *(row(name) for name in ["same", "gone", "edited", "tagged", "copied", "moved", "all"]),
        row("was a copy", of="same"),
    )
    after = dataset(
        "after",
        *(row("same"), row("came"), row("edited", "other", "r2"), row("tagged", rest="r2")),
        *(row("copied", of="same"), row("moved", cluster=3), row("was a copy")),
        row("all", "other", "r2", of="same", cluster=9),
    )
    changes = row_changes(before, after)
    assert dict(changes.select("id", "class").iter_rows()) == {
        "same": "unchanged",
        "gone": "removed",
        "came": "added",
        "edited": "changed",
        "tagged": "metadata_only",
        "copied": "rejudged",
        "was a copy": "rejudged",
        "moved": "moved",
        "all": "changed",
    }
    assert count_classes(changes) == {
        "added": 1,
        "removed": 1,
        "changed": 2,
        "metadata_only": 1,
        "rejudged": 2,
        "moved": 1,
        "unchanged": 1,
    }


def test_a_row_is_of_its_newer_source(dataset):
    before = dataset("before", row("one"), row("gone", source="old"))
    after = dataset("after", row("one", source="pages"), row("came", source="pages"))
    changes = row_changes(before, after)
    assert set(changes.select("id", "source").iter_rows()) == {
        ("one", "pages"),
        ("gone", "old"),
        ("came", "pages"),
    }


def test_nothing_against_something(dataset):
    empty, full = dataset("empty"), dataset("full", row("one"), row("two"))
    assert count_classes(row_changes(empty, full))["added"] == 2
    assert count_classes(row_changes(full, empty))["removed"] == 2
    assert set(count_classes(row_changes(empty, empty)).values()) == {0}


def test_columns_that_came_went_or_changed_their_type():
    before = pa.schema([("id", pa.string()), ("year", pa.int64()), ("lang", pa.string())])
    after = pa.schema([("id", pa.string()), ("year", pa.string()), ("stars", pa.int8())])
    assert changed_columns(before, after) == (
        ChangedColumn("lang", "string", None),
        ChangedColumn("stars", None, "int8"),
        ChangedColumn("year", "int64", "string"),
    )


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        pytest.param("a cat", "a dog", ("a cat", "a dog"), id="short"),
        pytest.param(
            "x" * 100 + "cat", "x" * 100 + "dog", ("…" + "x" * 30 + "cat", "…" + "x" * 30 + "dog")
        ),
        pytest.param(None, "new " * 20, ("", ("new " * 20)[:39] + "…"), id="added"),
        pytest.param("same", "same and more", ("same", "same and more"), id="longer"),
    ],
)
def test_a_snippet_shows_where_two_texts_part(before, after, shown):
    assert around(before, after, 40) == shown
