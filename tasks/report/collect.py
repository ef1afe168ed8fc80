"""From a table version to what its report shows: bounded samples, streamed columns, fixed order.

dataset (a release or a candidate) + manifest + rejects
  → rows by source · duplicate groups · sample of vectors → norms, picture → ReportData
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.arrow import TABLE_NAMES
from schemas.identity import has_text_form
from schemas.manifest import Manifest
from tasks.query.rejects import group_rejects
from tasks.query.snippet import one_line
from tasks.report.data import (
    Colouring,
    DuplicateGroup,
    Histogram,
    Member,
    Picture,
    ReportData,
)
from tasks.report.geometry import norm_histogram, principal_plane
from tasks.report.pictures import shrink
from tasks.report.sample import Sample, sample_offsets

POINTS = 3_000
"""Points of a picture: more of them overlap and make the page slow on a phone."""

NORMS = 20_000
"""Vectors whose norms are drawn, of each kind; the quality gate looks at all of them."""

GROUPS = 8
"""Groups of duplicates shown, the largest first."""

COPIES = 5
"""Copies shown of each group."""

COLOURS = 10
"""Values that get a colour of their own; the rest share one called "other"."""

COLOURINGS = 6
"""Columns that the picture can be coloured by."""

SNIPPET = 200
"""Code points of a text that the page carries for a row."""


def collect(dataset: Any, manifest: Manifest, rejects: Iterable[pa.RecordBatch] = ()) -> ReportData:
    """What the report of `manifest`'s build shows.

    `dataset` is the Lance dataset of the release or candidate, or None where there is none any
    more; `rejects` are batches of `schemas.arrow.REJECTS`.
    """
    groups = group_rejects(rejects)
    if dataset is None:
        return ReportData(manifest=manifest, rejects=groups, rows_seen=False)
    samples = sample_offsets(_scan(dataset, ["kind", "row_hash"]), NORMS)
    norms, pictures = [], []
    for sample in samples:
        norms.append(_norms(dataset, sample))
        pictures.append(_picture(dataset, sample))
    return ReportData(
        manifest=manifest,
        rejects=groups,
        duplicates=_duplicates(dataset),
        norms=norms,
        pictures=pictures,
        rows_by_source=_rows_by_source(dataset),
    )


def _scan(dataset: Any, columns: list[str], where: str | None = None) -> Iterable[pa.RecordBatch]:
    return dataset.scanner(columns=columns, filter=where, scan_in_order=True).to_batches()


def _rows_by_source(dataset: Any) -> dict[str, int]:
    totals: dict[str, int] = {}
    for batch in _scan(dataset, ["source"]):
        for pair in batch.column("source").value_counts().to_pylist():
            totals[pair["values"]] = totals.get(pair["values"], 0) + pair["counts"]
    return dict(sorted(totals.items()))


def _vectors(dataset: Any, offsets: np.ndarray) -> np.ndarray:
    column = dataset.take(offsets.tolist(), columns=["vector"]).column("vector").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _norms(dataset: Any, sample: Sample) -> Histogram:
    edges, counts, mean = norm_histogram(_vectors(dataset, sample.offsets))
    return Histogram(
        kind=sample.kind,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        sampled=len(sample.offsets),
        of=sample.of,
        mean=mean,
    )


def _picture(dataset: Any, sample: Sample) -> Picture:
    offsets = sample.offsets[:POINTS]
    plane, explained = principal_plane(_vectors(dataset, offsets))
    users = [name for name in dataset.schema.names if name not in TABLE_NAMES]
    columns = ["id", "text", "thumbnail", "source", "duplicate_kind", *users]
    rows = dataset.take(offsets.tolist(), columns=columns)
    return Picture(
        kind=sample.kind,
        x=tuple(plane[:, 0].round(4).tolist()),
        y=tuple(plane[:, 1].round(4).tolist()),
        members=_members(rows),
        colourings=_colourings(rows, users),
        explained=explained,
        of=sample.of,
    )


def _members(rows: pa.Table) -> tuple[Member, ...]:
    columns = (rows.column(name).to_pylist() for name in ("id", "text", "thumbnail"))
    return tuple(
        Member(id=key, text=one_line(text, SNIPPET) if text else None, thumbnail=shrink(picture))
        for key, text, picture in zip(*columns, strict=True)
    )


def _colourings(rows: pa.Table, users: list[str]) -> tuple[Colouring, ...]:
    """The columns with values to tell apart by colour; one of several values comes first."""
    found = []
    for name in ["source", *users, "duplicate_kind"]:
        if not has_text_form(rows.column(name).type) or len(found) == COLOURINGS:
            continue
        values = pl.Series(name, rows.column(name).cast(pa.string()))
        values = values.fill_null("kept" if name == "duplicate_kind" else "(none)")
        colouring = _colouring(name, values)
        if name == "source" or len(colouring.names) > 1:
            found.append(colouring)
    return tuple(sorted(found, key=lambda colouring: len(colouring.names) < 2))


def _colouring(name: str, values: pl.Series) -> Colouring:
    """The most frequent values by name; a column where each is rare has nothing to show."""
    counted = values.value_counts(sort=False).sort(["count", name], descending=[True, False])
    shown = counted[name].head(COLOURS).to_list()
    covered = int(counted["count"].head(COLOURS).sum())
    if name != "source" and covered < len(values) / 10:
        return Colouring(name, (), ())
    order = sorted(shown)
    codes = values.replace_strict(
        order, list(range(len(order))), default=len(order), return_dtype=pl.Int64
    )
    names = [one_line(value, 40) or "(blank)" for value in order]
    return Colouring(
        name, (*names, "other") if covered < len(values) else tuple(names), tuple(codes.to_list())
    )


def _duplicates(dataset: Any) -> tuple[DuplicateGroup, ...]:
    """The largest groups of duplicates, ties by id: one pass over the marked rows' ids."""
    columns = ["id", "duplicate_of", "duplicate_kind"]
    batches = list(_scan(dataset, columns, "duplicate_of IS NOT NULL"))
    if not batches:
        return ()
    marked = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches)))
    largest = (
        marked.group_by("duplicate_kind", "duplicate_of")
        .agg(pl.len(), pl.col("id").sort().head(COPIES))
        .sort(["len", "duplicate_of", "duplicate_kind"], descending=[True, False, False])
        .head(GROUPS)
    )
    wanted = largest["duplicate_of"].to_list() + largest["id"].explode().to_list()
    found = _by_id(dataset, wanted)
    return tuple(
        DuplicateGroup(
            kind=kind or "exact",
            kept=found.get(kept, Member(kept)),
            count=count,
            copies=tuple(found.get(copy, Member(copy)) for copy in copies),
        )
        for kind, kept, count, copies in largest.rows()
    )


def _by_id(dataset: Any, ids: list[str]) -> dict[str, Member]:
    """The rows of these ids, at most some dozens; ids come from documents, so they are escaped."""
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
    columns = ["id", "text", "thumbnail", "duplicate_score"]
    rows = dataset.to_table(columns=columns, filter=f"id IN ({quoted})")
    scores = rows.column("duplicate_score").to_pylist()
    return {
        member.id: Member(member.id, member.text, member.thumbnail, score)
        for member, score in zip(_members(rows), scores, strict=True)
    }
