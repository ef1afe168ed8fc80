"""From a table version to what its report shows: bounded samples, streamed columns, fixed order.

dataset (a release or a candidate) + manifest + rejects
  → rows by source · duplicate groups · clusters · sample of vectors → norms, picture → ReportData
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import TABLE_NAMES
from schemas.manifest import Manifest
from tasks.geometry.typical import typical_points
from tasks.query.rejects import group_rejects
from tasks.query.snippet import one_line
from tasks.report.colours import cluster_colouring, colourings
from tasks.report.data import (
    Cluster,
    DuplicateGroup,
    Histogram,
    MapLabel,
    Member,
    Picture,
    ReportData,
)
from tasks.report.geometry import norm_histogram, principal_plane
from tasks.report.pictures import shrink
from tasks.report.sample import Sample, sample_offsets
from tasks.table.clusters import LABEL_TERMS, ClusterRecord

POINTS = 3_000
"""Points of a picture: more of them overlap and make the page slow on a phone."""

NORMS = 20_000
"""Vectors whose norms are drawn, of each kind; the quality gate looks at all of them."""

GROUPS = 8
"""Groups of duplicates shown, the largest first."""

COPIES = 5
"""Copies shown of each group."""

CLUSTERS = 24
"""Clusters shown with the rows that stand for them, the largest first."""

STANDING_FOR = 3
"""Rows shown of each cluster."""

LABEL = 60
"""Code points of a cluster's name on the page."""

SNIPPET = 200
"""Code points of a text that the page carries for a row."""


def collect(
    dataset: Any,
    manifest: Manifest,
    rejects: Iterable[pa.RecordBatch] = (),
    clusters: Sequence[ClusterRecord] = (),
) -> ReportData:
    """What the report of `manifest`'s build shows.

    `dataset` is the Lance dataset of the release or candidate, or None where there is none any
    more; `rejects` are batches of `schemas.arrow.REJECTS`, `clusters` those of its rows.
    """
    groups = group_rejects(rejects)
    if dataset is None:
        return ReportData(manifest=manifest, rejects=groups, rows_seen=False)
    samples = sample_offsets(_scan(dataset, ["kind", "row_hash"]), NORMS)
    norms, pictures = [], []
    for sample in samples:
        norms.append(_norms(dataset, sample))
        pictures.append(_picture(dataset, sample, manifest, clusters))
    shown = _clusters(dataset, clusters, {sample.kind: sample.of for sample in samples})
    return ReportData(
        manifest=manifest,
        rejects=groups,
        duplicates=_duplicates(dataset),
        norms=norms,
        pictures=pictures,
        clusters=shown,
        clusters_left=sum(each.size > 0 for each in clusters) - len(shown),
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


def _picture(
    dataset: Any, sample: Sample, manifest: Manifest, clusters: Sequence[ClusterRecord]
) -> Picture:
    """On the map of the build's fit, where its rows have a place there; else on two components."""
    offsets = sample.offsets[:POINTS]
    users = [name for name in dataset.schema.names if name not in TABLE_NAMES]
    columns = ["id", "text", "thumbnail", "source", "duplicate_kind", "cluster", "x", "y", *users]
    rows = dataset.take(offsets.tolist(), columns=columns)
    plane = _places(rows)
    placed = np.isfinite(plane).all(axis=1)
    if placed.any():
        rows, plane = rows.filter(pa.array(placed)), plane[placed]
        drawn: dict[str, Any] = {"fit_id": manifest.fit_id, "method": _map_of(manifest)}
    else:
        plane, explained = principal_plane(_vectors(dataset, offsets))
        drawn = {"explained": explained}
    mine = [each for each in clusters if each.kind == sample.kind]
    numbers = pc.fill_null(rows.column("cluster"), -1).to_numpy()
    labels = _labels(mine, numbers, plane)
    first = cluster_colouring(numbers, labels)
    return Picture(
        kind=sample.kind,
        x=tuple(plane[:, 0].round(4).tolist()),
        y=tuple(plane[:, 1].round(4).tolist()),
        members=_members(rows),
        colourings=(*first, *colourings(rows, users)),
        of=sample.of,
        labels=labels,
        **drawn,
    )


def _places(rows: pa.Table) -> np.ndarray:
    """x and y as float64 `(n, 2)`; NaN where there are none."""
    return np.stack(
        [
            rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
            if rows.column(name).null_count < rows.num_rows
            else np.full(rows.num_rows, np.nan)
            for name in ("x", "y")
        ],
        axis=1,
    )


def _map_of(manifest: Manifest) -> str | None:
    settings = manifest.resolved_spec.get("cluster")
    return settings.get("map") if isinstance(settings, dict) else None


def _labels(
    clusters: Sequence[ClusterRecord], numbers: np.ndarray, plane: np.ndarray
) -> tuple[MapLabel, ...]:
    """A label for each cluster with a row in the picture, the largest first."""
    typical = typical_points(plane, numbers)
    known = {each.cluster: each for each in clusters}
    counted = dict(zip(*np.unique(numbers, return_counts=True), strict=True))
    order = sorted(
        (number for number in typical if number >= 0),
        key=lambda number: (-(known[number].size if number in known else counted[number]), number),
    )
    return tuple(
        MapLabel(
            one_line(known[number].name, LABEL) if number in known else f"cluster {number}",
            number,
            *(round(float(value), 4) for value in plane[typical[number]]),
        )
        for number in order
    )


def _clusters(
    dataset: Any, records: Sequence[ClusterRecord], totals: dict[str, int]
) -> tuple[Cluster, ...]:
    """The largest clusters with rows that stand for them."""
    largest = sorted((r for r in records if r.size), key=lambda r: (-r.size, r.kind, r.cluster))
    largest = largest[:CLUSTERS]
    wanted = [name for record in largest for name in record.representatives[:STANDING_FOR]]
    found = _by_id(dataset, wanted) if wanted else {}
    return tuple(
        Cluster(
            record.kind,
            one_line(record.name, LABEL),
            tuple(one_line(term, LABEL) for term in record.terms[LABEL_TERMS:]),
            record.size,
            totals.get(record.kind, record.size),
            tuple(found[n] for n in record.representatives[:STANDING_FOR] if n in found),
        )
        for record in largest
    )


def _members(rows: pa.Table) -> tuple[Member, ...]:
    columns = (rows.column(name).to_pylist() for name in ("id", "text", "thumbnail"))
    return tuple(
        Member(id=key, text=one_line(text, SNIPPET) if text else None, thumbnail=shrink(picture))
        for key, text, picture in zip(*columns, strict=True)
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
    kept = largest["duplicate_of"].to_list()
    wanted = kept + [_first_chunk(record) for record in kept] + largest["id"].explode().to_list()
    found = _by_id(dataset, wanted)
    return tuple(
        DuplicateGroup(
            kind=kind or "exact",
            kept=found.get(kept) or replace(found.get(_first_chunk(kept), Member(kept)), id=kept),
            count=count,
            copies=tuple(found.get(copy, Member(copy)) for copy in copies),
        )
        for kind, kept, count, copies in largest.rows()
    )


def _first_chunk(record: str) -> str:
    """The id of the row that stands for a record that is kept as a whole, where it was cut."""
    return f"{record}#0"


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
