"""The table without the records: files that held them are written anew, in one commit.

An ordinary build marks rows as deleted and leaves them in their data file. Here every file that
holds a record (or a row that is marked as its copy) is read, and what stays is written to new
files, in one `Update` by the usual protocol: the commit that carries the manifest refers to clean
files alone. Indexes are dropped before and built afterwards, since they keep the words and vectors
of rows that left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tasks.erase.asked import Asked, Record
from tasks.store.leases import BusyError
from tasks.table.dataset import TableRef, open_main, open_version, read_tags, try_open
from tasks.table.history import main_versions, read_commit
from tasks.table.reconcile import finish
from tasks.table.releases import (
    BASE_PREFIX,
    DATA_PREFIX,
    Release,
    release_name,
    release_versions,
)
from tasks.table.transaction import (
    Base,
    base_tags,
    commit,
    discard,
    release_base,
    stage_overwrite,
    stage_update,
    take_base,
)

BATCH_ROWS = 4_096
"""Rows in memory at a time: 13 MB of float32 vectors at 768 dimensions."""

UNTRACKED = ("_versions/latest_version_hint.json", "_refs/")
"""Files that no version names and that belong there: Lance's hint, and the tags."""


@dataclass(frozen=True)
class Stays:
    """The table after the erasure, counted."""

    rows: int
    removed: int
    rejudged: int  # copies of a record that goes: one of them is kept instead
    duplicates: dict[str, int]  # kind → rows that stay marked
    records: frozenset[Record]  # that had rows


def release_bases(ref: TableRef, operations: set[str]) -> None:
    """Drop the base tags of these erasures: of one that was broken off, and is taken up now."""
    for operation in operations & base_tags(ref).keys():
        release_base(ref, operation)


def refuse_bases(ref: TableRef) -> None:
    """Raise `BusyError` where a build has a base tag: what it has staged would be erased with it.

    Ask when what the dead left is swept: a builder that works in another `workdir` shows nothing
    but this tag.
    """
    if builds := sorted(base_tags(ref)):
        names = ", ".join(f"{BASE_PREFIX}{build}" for build in builds)
        raise BusyError(
            f"forget of space {ref.space!r}: the table has the tags {names} of builds without a "
            "lease here, expected none: they may be at work in another workdir; run again when "
            "they have ended. A dead build's tag goes by itself a day after it was made, or by "
            f"`lance.dataset({ref.path!r}).tags.delete({BASE_PREFIX + builds[0]!r})`"
        )


def erase_rows(
    ref: TableRef,
    operation: str,
    asked: Asked,
    held: frozenset[str],
    prod: Release,
    tag: str,
    properties: Callable[[Base, Stays], dict[str, str]],
) -> Release:
    """Publish `prod`'s content without the records as a new release.

    `held` are the data files that hold something; `properties` makes those of the commit, with the
    manifest. Raises `ConflictError` where a build that holds no lease here was first.
    """
    _put_back(ref, prod)
    for index in open_main(ref).describe_indices():
        open_main(ref).drop_index(index.name)
    base = take_base(ref, operation)
    try:
        dataset = open_version(ref, base.version)
        marks = _marks(dataset, asked)
        stays = _count(dataset, asked, marks)
        fragments = [
            fragment
            for fragment in dataset.get_fragments()
            if any(f"data/{file.path}" in held for file in fragment.metadata.files)
        ]
        gone = [_addresses(fragment) for fragment in fragments]
        if base.fragments == 0:
            staged = stage_overwrite(base, [], dataset.schema)
        else:
            staged = stage_update(
                base,
                np.concatenate([*gone, np.empty(0, np.uint64)]),
                _survivors(fragments, asked, marks, dataset.schema),
                dataset.schema,
            )
        try:
            version = commit(staged, properties(base, stays), tag)
        except BaseException:
            discard(staged)
            raise
        return finish(ref, version, tag)
    finally:
        release_base(ref, operation)


def _put_back(ref: TableRef, prod: Release) -> None:
    """Make main's content that of `prod`, where a hold kept a later build from its tags."""
    import lance
    from lance.dataset import LanceOperation, Transaction

    dataset = open_main(ref)
    later = [number for number in main_versions(dataset) if number > prod.version]
    if not all(read_commit(dataset, number).harmless for number in later):
        restore = Transaction(dataset.version, LanceOperation.Restore(prod.version))
        lance.LanceDataset.commit(dataset, restore)


def _addresses(fragment: Any) -> np.ndarray:
    """Row addresses (uint64) of the fragment's rows that are not deleted."""
    table = fragment.scanner(columns=[], with_row_address=True).to_table()
    return table.column("_rowaddr").to_numpy().astype(np.uint64)


def _marks(dataset: Any, asked: Asked) -> pl.DataFrame:
    """New marks of rows that are copies of a record that goes: id, duplicate_of, _kind, _score.

    The first of a group of exact copies by id is kept now and the others point to it; of other
    kinds each is kept, since copies of one row need not be copies of each other. The next build
    judges by the spec's own order.
    """
    names = ["id", "duplicate_of", "duplicate_kind", "duplicate_score"]
    found = dataset.to_table(columns=names, filter="duplicate_of IS NOT NULL")
    rows = pl.DataFrame(found)
    rows = rows.filter(asked.named(rows["duplicate_of"]) & ~asked.named(rows["id"]))
    first = pl.col("id").min().over("duplicate_of", "duplicate_kind")
    copy = (pl.col("duplicate_kind") == "exact") & (pl.col("id") != first)
    return rows.select(
        "id",
        pl.when(copy).then(first).alias("duplicate_of"),
        pl.when(copy).then("duplicate_kind").alias("duplicate_kind"),
        pl.when(copy).then("duplicate_score").alias("duplicate_score"),
    )


def _count(dataset: Any, asked: Asked, marks: pl.DataFrame) -> Stays:
    rows = pl.DataFrame(dataset.to_table(columns=["id", "source", "key", "duplicate_kind"]))
    own = asked.named(rows["id"])
    stay, go = rows.filter(~own), rows.filter(own)
    kinds = stay.join(marks.select("id"), on="id", how="anti")["duplicate_kind"]
    kinds = pl.concat([kinds, marks["duplicate_kind"]]).drop_nulls()
    return Stays(
        rows=stay.height,
        removed=go.height,
        rejudged=marks.height,
        duplicates=dict(kinds.value_counts().iter_rows()),
        records=frozenset(go.select("source", "key").unique().iter_rows()),
    )


def _survivors(
    fragments: list[Any], asked: Asked, marks: pl.DataFrame, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows that stay of the fragments, under `schema`, with their new marks."""
    for fragment in fragments:
        for batch in fragment.to_batches(columns=schema.names, batch_size=BATCH_ROWS):
            ids = pl.Series("id", batch.column("id"))
            kept = batch.filter(pa.array((~asked.named(ids)).to_numpy()))
            if kept.num_rows:
                yield _remarked(kept, marks, schema)


def _remarked(batch: pa.RecordBatch, marks: pl.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    ids = pl.DataFrame({"id": pl.Series(batch.column("id"))})
    if ids.join(marks, on="id", how="semi").is_empty():
        return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    names = ["duplicate_of", "duplicate_kind", "duplicate_score"]
    old = pl.DataFrame(batch.select(["id", *names]))
    known = pl.col("id").is_in(marks["id"].to_list())
    new = old.join(marks, on="id", how="left", maintain_order="left", suffix="_new").select(
        pl.when(known).then(f"{name}_new").otherwise(name).alias(name) for name in names
    )
    table = new.to_arrow()
    columns = [
        table.column(field.name).combine_chunks().cast(field.type)
        if field.name in names
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def retire(ref: TableRef, names: frozenset[str]) -> None:
    """Delete the tags of these releases; of a data tag without its release, too."""
    dataset = open_main(ref)
    for name in sorted(names):
        _delete_tag(dataset, name)
    tags = read_tags(dataset)
    finished = {f"{DATA_PREFIX}{release_name(number)}" for number in release_versions(tags)}
    for name in tags:
        if name.startswith(DATA_PREFIX) and name not in finished:
            _delete_tag(dataset, name)


def _delete_tag(dataset: Any, name: str) -> None:
    try:
        dataset.tags.delete(name)
    except ValueError as error:
        if "does not exist" not in str(error):
            raise


def clean(ref: TableRef) -> None:
    """Remove every version without a tag, and every file that no version left refers to.

    Raises `BusyError` beside a builder: what it has staged belongs to no version either. In this
    order one that comes meanwhile loses nothing: files are listed, builders are looked for, and
    only then it is asked which of the files a version refers to.
    """
    dataset = try_open(ref)
    if dataset is None:
        return
    session = dataset.new_file_session()
    candidates = [
        path for path in session.list("_versions") if path.rpartition("/")[2].startswith("d")
    ]
    dataset.cleanup_old_versions(
        older_than=timedelta(0), delete_unverified=False, error_if_tagged_old_versions=False
    )
    every = _files(open_main(ref))
    refuse_bases(ref)
    for path in [*candidates, *_loose(open_main(ref), every)]:
        if session.contains(path):
            session.delete_file(path)


def loose_files(dataset: Any) -> list[str]:
    """Files in the dataset's folder that no version refers to and that are none of Lance's own."""
    return _loose(dataset, _files(dataset))


def _files(dataset: Any) -> list[str]:
    return dataset.all_files().read_all().column("path").to_pylist()


def _loose(dataset: Any, every: list[str]) -> list[str]:
    tracked = set(dataset.tracked_files().read_all().column("path").to_pylist())
    return sorted(path for path in every if path not in tracked and not path.startswith(UNTRACKED))
