"""What changed between two releases: rows by class, columns, sources, and a few examples.

    row_changes     ids and hashes of both versions, joined             (tasks.table.changes)
    _examples       the first few ids of each class, and only their texts and columns

No vector is read, and no text but those of the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.query.releases import find_release
from tasks.table.changes import CLASSES, count_classes, row_changes
from tasks.table.companions import sql_string
from tasks.table.dataset import TableRef, open_main, open_version, read_tags
from tasks.table.releases import Release, release_name, release_versions, tagged_release

NOT_SHOWN = frozenset({"id", "content_hash", "row_hash", "vector", "thumbnail", "x", "y"})
"""Columns that tell a person nothing, or follow from others."""


@dataclass(frozen=True)
class ChangedColumn:
    """A column that one release has and the other has not, or has with another type."""

    name: str
    before: str | None  # arrow type; None: there was no such column
    after: str | None


@dataclass(frozen=True)
class Example:
    """A row that changed. `columns`: name → (before, after) where they differ, but the text."""

    id: str
    before: str | None  # the text, or the file of an image; None: there was no such row
    after: str | None
    columns: dict[str, tuple[object, object]]


@dataclass(frozen=True)
class Diff:
    """Two releases and what is different in `after`."""

    before: Release
    after: Release
    counts: dict[str, int]  # rows by class of `tasks.table.changes`
    sources: dict[str, dict[str, int]]  # source → the same
    columns: tuple[ChangedColumn, ...]
    examples: dict[str, tuple[Example, ...]]  # class → some of its rows, by id


def diff_releases(
    spec: SpaceSpec, before: str | None = None, after: str | None = None, examples: int = 3
) -> Diff:
    """Compare two releases or tags: by default the release before `after`, which is `prod`.

    Raises `UsageError` for an unknown name, and where there is no release before.
    """
    ref = TableRef.of(spec)
    new = find_release(spec, after)
    old = find_release(spec, before) if before else _previous(ref, new)
    was, now = (open_version(ref, release.version) for release in (old, new))
    changes = row_changes(was, now)
    return Diff(
        before=old,
        after=new,
        counts=count_classes(changes),
        sources={
            str(source): count_classes(rows)
            for (source,), rows in sorted(
                changes.partition_by("source", as_dict=True).items(), key=str
            )
        },
        columns=changed_columns(was.schema, now.schema),
        examples=_examples(changes, was, now, examples),
    )


def _previous(ref: TableRef, release: Release) -> Release:
    numbers = release_versions(read_tags(open_main(ref)))
    for number in sorted(numbers, reverse=True):
        found = tagged_release(ref, release_name(number)) if number < release.number else None
        if found is not None:  # else it was retired since
            return found
    raise UsageError(
        f"there is no release before {release.name} to compare it with; name two releases or tags "
        "(`vecmill versions` lists them)"
    )


def changed_columns(before: Any, after: Any) -> tuple[ChangedColumn, ...]:
    """The columns of two Arrow schemas that are not in both with one type, by name."""
    old, new = ({field.name: str(field.type) for field in schema} for schema in (before, after))
    return tuple(
        ChangedColumn(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _examples(
    changes: pl.DataFrame, before: Any, after: Any, limit: int
) -> dict[str, tuple[Example, ...]]:
    chosen = {
        name: changes.filter(pl.col("class") == name)["id"].sort().head(limit).to_list()
        for name in CLASSES
        if name != "unchanged"
    }
    ids = [each for names in chosen.values() for each in names]
    old, new = (_rows(dataset, ids) for dataset in (before, after))
    return {
        name: tuple(_example(each, old.get(each), new.get(each)) for each in members)
        for name, members in chosen.items()
    }


def _rows(dataset: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """id → the shown columns of those rows that the version has."""
    if not ids:
        return {}
    names = ["id", *(name for name in dataset.schema.names if name not in NOT_SHOWN)]
    where = f"id IN ({', '.join(map(sql_string, ids))})"
    found = dataset.to_table(columns=names, filter=where).to_pylist()
    return {row["id"]: row for row in found}


def _example(name: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> Example:
    columns = {}
    if old is not None and new is not None:
        names = [*old, *(column for column in new if column not in old)]
        columns = {
            column: (old.get(column), new.get(column))
            for column in names
            if column != "text" and old.get(column) != new.get(column)
        }
    return Example(name, _content(old), _content(new), columns)


def _content(row: dict[str, Any] | None) -> str | None:
    return None if row is None else row["text"] if row["text"] is not None else row["uri"]
