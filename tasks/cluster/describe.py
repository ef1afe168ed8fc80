"""From a build's rows to its clusters: how many rows, who stands for it, what it is about.

    kind, cluster, row hash of all rows → sizes; the rows of least hash of each cluster
    └ their ids, vectors and texts      → nearest to the centroid; terms, where none are known yet

A row hash is as good as random, so the sample is fair, and the same for the same content whoever
builds and in whatever order. Of copies only the one that is kept is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from schemas.engines import REFERENCE
from schemas.manifest import Manifest
from schemas.refs import EmbedderRef
from tasks.cluster.labels import (
    BATCH_WORDS,
    known_words,
    picture_words,
    text_terms,
    word_terms,
)
from tasks.geometry.fit import Fit
from tasks.table.clusters import ClusterRecord, clusters_for
from tasks.table.dataset import TableRef, open_version
from tasks.table.releases import Release
from tasks.table.vectors import matrix

REPRESENTATIVES = 6
"""Rows that stand for a cluster: a report shows some of them side by side."""

SAMPLE = 12_000
"""Rows looked at, of all clusters of a kind together: some 30 MB, and seconds to find terms in."""

LEAST, MOST = 12, 300
"""Rows looked at of one cluster, whatever the number of clusters."""

ROWS_AT_ONCE = 4_000
"""Rows read together by their addresses."""

Words = Mapping[tuple[str, int, bytes], tuple[str, ...]]
"""Kind, cluster and centroid → terms that are known already."""


@dataclass(frozen=True)
class Groups:
    """The clusters of one kind: `ids` int32 `(k)`, `centroids` float32 `(k, d)`, unit length."""

    fit_id: str
    kind: str
    ids: np.ndarray
    centroids: np.ndarray


def groups_of(fit: Fit) -> list[Groups]:
    """The clusters of a fit, kind by kind; none of a kind whose clusters are off."""
    return [
        Groups(fit.fit_id, kind.kind, kind.ids, kind.centroids)
        for kind in sorted(fit.kinds.values(), key=lambda kind: kind.kind)
        if len(kind.ids)
    ]


def groups_from(records: Iterable[ClusterRecord]) -> list[Groups]:
    """The clusters that an earlier build recorded: the same fit, where it is not at hand."""
    kinds: dict[tuple[str, str], list[ClusterRecord]] = {}
    for record in records:
        kinds.setdefault((record.fit_id, record.kind), []).append(record)
    return [
        Groups(
            fit_id,
            kind,
            np.array([each.cluster for each in members], np.int32),
            np.stack([each.centroid for each in members]),
        )
        for (fit_id, kind), members in sorted(kinds.items())
    ]


def known_terms(records: Iterable[ClusterRecord]) -> Words:
    """The terms of earlier records, which are carried on while the centroid is the same."""
    return {_place(r.kind, r.cluster, r.centroid): r.terms for r in records if r.terms}


def _place(kind: str, cluster: int, centroid: np.ndarray) -> tuple[str, int, bytes]:
    return kind, cluster, centroid.astype(np.float32).tobytes()


def describe_build(
    ref: TableRef, version: int, fit: Fit, before: Manifest | None, embedder: EmbedderRef
) -> list[ClusterRecord]:
    """The clusters of a build's candidate at `version`; `before`: of the release that stands."""
    groups = groups_of(fit)
    if not groups:
        return []
    known = known_terms(clusters_for(ref, before)) if before is not None else {}
    return describe_clusters(open_version(ref, version), groups, known, embedder)


def describe_again(ref: TableRef, release: Release) -> list[ClusterRecord]:
    """The clusters of a release, with the words of the texts that it has now.

    For when words of before may not stay. Those of pictures come from a list of our own, and do.
    """
    records = clusters_for(ref, release.manifest)
    known = known_terms(record for record in records if record.kind == "image")
    return describe_clusters(open_version(ref, release.version), groups_from(records), known)


def describe_clusters(
    dataset: Any, groups: Sequence[Groups], known: Words, embedder: EmbedderRef | None = None
) -> list[ClusterRecord]:
    """The clusters of a version of the table, empty ones too, by kind and number.

    `dataset` is a Lance dataset with the columns of the contract. Terms are taken from `known` and
    made for a cluster that has none there; those of pictures need the `embedder`.
    """
    records = []
    for each in groups:
        sizes, sample = _sampled(dataset, each)
        numbers = [int(number) for number in each.ids]
        places = [
            _place(each.kind, number, centroid)
            for number, centroid in zip(numbers, each.centroids, strict=True)
        ]
        lacking = any(place not in known for place in places)
        rows = _read(dataset, sample, texts=lacking and each.kind == "text")
        terms = _terms(each, rows, embedder) if lacking else {}
        nearest = _nearest(each, rows)
        for number, place, centroid in zip(numbers, places, each.centroids, strict=True):
            records.append(
                ClusterRecord(
                    each.fit_id,
                    each.kind,
                    number,
                    known.get(place) or terms.get(number, ()),
                    sizes.get(number, 0),
                    centroid,
                    nearest.get(number, ()),
                )
            )
    return sorted(records, key=lambda record: (record.kind, record.cluster))


def _sampled(dataset: Any, groups: Groups) -> tuple[dict[int, int], pl.DataFrame]:
    """Rows of each cluster, and the sample: columns cluster and _rowaddr."""
    most = int(np.clip(SAMPLE // max(len(groups.ids), 1), LEAST, MOST))
    totals: dict[int, int] = {}
    held = pl.DataFrame(schema={"cluster": pl.Int32, "rank": pl.UInt64, "_rowaddr": pl.UInt64})
    batches = dataset.scanner(
        columns=["cluster", "duplicate_of", "row_hash"],
        filter=f"kind = '{groups.kind}' AND cluster >= 0",
        with_row_address=True,
    ).to_batches()
    for batch in batches:
        rows = pl.DataFrame(pl.from_arrow(batch))
        for number, count in rows.group_by("cluster").len().iter_rows():
            totals[number] = totals.get(number, 0) + count
        rank = pl.col("row_hash").bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
        kept = rows.filter(pl.col("duplicate_of").is_null())
        held = pl.concat([held, kept.select("cluster", rank.alias("rank"), "_rowaddr")])
        held = held.sort("rank", "_rowaddr").group_by("cluster", maintain_order=True).head(most)
    return totals, held.select("cluster", "_rowaddr")


@dataclass(frozen=True)
class _Rows:
    """The sampled rows by id; `texts` is empty where none were asked for."""

    ids: list[str]
    clusters: np.ndarray  # int32 (n)
    vectors: np.ndarray  # float32 (n, d)
    texts: list[str]


def _read(dataset: Any, sample: pl.DataFrame, texts: bool) -> _Rows:
    """The rows at the sampled addresses, by id.

    By a filter on the address, since `take` is slow where rows were deleted (`vectors_at`).
    """
    columns = ["id", "cluster", "vector", *(["text"] if texts else [])]
    addresses = np.sort(sample["_rowaddr"].to_numpy())
    ids: list[str] = []
    clusters, vectors, said = [], [], []
    for start in range(0, len(addresses), ROWS_AT_ONCE):
        listed = ",".join(map(str, addresses[start : start + ROWS_AT_ONCE].tolist()))
        found = dataset.to_table(columns=columns, filter=f"_rowaddr IN ({listed})")
        ids += found.column("id").to_pylist()
        clusters.append(found.column("cluster").to_numpy())
        # rounded as the table may be, so that float32 and float16 choose the same rows
        vectors.append(matrix(found.column("vector")).astype(np.float16).astype(np.float32))
        said += [text or "" for text in found.column("text").to_pylist()] if texts else []
    if not ids:
        width = dataset.schema.field("vector").type.list_size
        return _Rows([], np.zeros(0, np.int32), np.zeros((0, width), np.float32), [])
    order = np.argsort(np.array(ids, object), kind="stable")
    return _Rows(
        [ids[at] for at in order],
        np.concatenate(clusters)[order],
        np.concatenate(vectors)[order],
        [said[at] for at in order] if texts else [],
    )


def _nearest(groups: Groups, rows: _Rows) -> dict[int, tuple[str, ...]]:
    """Ids of the rows nearest to each centroid, ties by id."""
    chosen = {}
    for at, number in enumerate(map(int, groups.ids)):
        mine = np.flatnonzero(rows.clusters == number)
        likeness = (rows.vectors[mine] @ groups.centroids[at]).round(5)
        order = np.argsort(-likeness, kind="stable")[:REPRESENTATIVES]
        chosen[number] = tuple(rows.ids[mine[place]] for place in order)
    return chosen


def _terms(groups: Groups, rows: _Rows, embedder: EmbedderRef | None) -> dict[int, tuple[str, ...]]:
    if groups.kind == "text":
        return text_terms(rows.texts, rows.clusters) if rows.ids else {}
    if embedder is None or "text" not in embedder.kinds:
        return {}  # an embedder without words: the pictures speak for themselves
    words = picture_words()
    vectors = _embedded(words, embedder)
    known = known_words(words, vectors)
    if not known.any():
        return {}
    words = [word for word, good in zip(words, known, strict=True) if good]
    found = word_terms(words, vectors[known], groups.centroids)
    return {int(number): terms for number, terms in zip(groups.ids, found, strict=True)}


def _embedded(words: Sequence[str], embedder: EmbedderRef) -> np.ndarray:
    """The words' vectors, float32 `(n, d)`, unit length: in the space's engine, else in torch."""
    from tasks.embedders.exported.export import exported_already
    from tasks.embedders.load import load

    if embedder.engine != "torch" and not exported_already(embedder):
        engine, precision = REFERENCE
        embedder = replace(embedder, engine=engine, precision=precision)
    model = load(embedder)
    parts = [
        model.embed_texts(words[start : start + BATCH_WORDS], query=True)
        for start in range(0, len(words), BATCH_WORDS)
    ]
    vectors = np.concatenate(parts).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
