"""A fit from a sample: clusters, cells for the search of neighbours, a map; for each kind apart.

    sample vectors ─ float16 and back, length 1 ─┬ k-means or HDBSCAN → centroids, ids, radii, reach
                                                 ├ k-means → cells
                                                 └ PCA or UMAP → map

The same sample gives the same fit, and so the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from schemas.spec import ClusterSpec
from tasks.cluster.clusters import clusters
from tasks.cluster.maps import MAPS
from tasks.geometry.fit import Fit, KindFit, named
from tasks.geometry.kmeans import kmeans
from tasks.geometry.unit import unit_vectors

SAMPLE_ROWS = 50_000
"""Most rows of a kind that a fit is made from: 400 for each of 128 clusters."""

SAMPLE_BYTES = 128 << 20
"""Most bytes of them, as float32."""

MOST_CELLS = 4_096
CELL_ROWS = 12
CELL_ROUNDS = 10
"""Most cells; rows of the sample that each needs; rounds of k-means: cells need to be compact, not
the best there are."""

FEW_ROWS = 10_000
OUTGROWN = 4
"""Rows up to which any cells do: each against every other takes a second. Beyond, cells are made
again when this many times as many are wanted: rows have become 16 times as many, and the search
for neighbours costs four times what it needs to."""


@dataclass(frozen=True)
class Sample:
    """Rows of one kind: distinct contents by least hash. `rows` of the kind there are in all."""

    vectors: np.ndarray  # float32 (n, d)
    contents: np.ndarray  # S16 (n)
    rows: int


def sample_rows(dimensions: int) -> int:
    """How many rows of a kind a fit wants to see."""
    return min(SAMPLE_ROWS, SAMPLE_BYTES // (4 * dimensions))


def make_fit(samples: Mapping[str, Sample], spec: ClusterSpec | None, *, semantic: bool) -> Fit:
    """A fit of every kind in `samples`. `spec` None: no clusters and no map; `semantic`: cells.

    Raises `MissingExtraError` where `map: umap` is not installed.
    """
    return extend(None, samples, spec, semantic=semantic)


def lacks(
    fit: Fit | None, kind: str, spec: ClusterSpec | None, *, semantic: bool, rows: int = 0
) -> bool:
    """Whether `extend` would add something to the fit of this kind, of which there are `rows`."""
    own = fit.kinds.get(kind) if fit else None
    if own is None:
        return spec is not None or semantic
    if spec is not None and (not len(own.centroids) or (spec.map is not None and own.map is None)):
        return True
    return semantic and _outgrown(own.cells, rows)


def extend(
    fit: Fit | None,
    samples: Mapping[str, Sample],
    spec: ClusterSpec | None,
    *,
    semantic: bool,
) -> Fit:
    """`fit` with what it lacks for the kinds in `samples`: what it has stays, so ids and places do.

    Cells, which nobody sees, are made again where rows have outgrown them. A sample without a
    single direction adds nothing; `fit` itself where nothing was added.
    """
    kinds = dict(fit.kinds) if fit else {}
    for kind, sample in sorted(samples.items()):
        if lacks(fit, kind, spec, semantic=semantic, rows=sample.rows):
            made = kind_fit(kind, sample, spec, semantic=semantic, stands=kinds.get(kind))
            if made is not None:
                kinds[kind] = made
    extended = named(kinds)
    return fit if fit is not None and fit.fit_id == extended.fit_id else extended


def kind_fit(
    kind: str,
    sample: Sample,
    spec: ClusterSpec | None,
    *,
    semantic: bool,
    stands: KindFit | None = None,
    like: KindFit | None = None,
) -> KindFit | None:
    """The fit of one kind: what `stands` has stays; what is made is made `like` another.

    `stands` where the sample has no direction at all.
    """
    unit = unit_vectors(sample.vectors)
    usable = unit.any(axis=1)
    unit, contents = unit[usable], sample.contents[usable]
    if not len(unit):
        return stands
    own = stands or _empty(kind, unit.shape[1])
    if spec is not None and not len(own.centroids):
        found = clusters(unit, spec, like.centroids if like else None)
        own = replace(
            own,
            method=spec.method,
            rows=len(unit),
            centroids=found.centroids,
            ids=np.arange(len(found.centroids), dtype=np.int32),
            radii=found.radii,
            reach=found.reach,
        )
    if semantic and _outgrown(own.cells, sample.rows):
        own = replace(own, cells=_cells(unit, sample.rows))
    if spec is not None and spec.map is not None and own.map is None:
        before = like.map if like else None
        made = MAPS[spec.map](unit, contents, before)
        own = replace(own, map=made)
    return own


def _empty(kind: str, dimensions: int) -> KindFit:
    none = np.empty((0, dimensions), np.float32)
    return KindFit(
        kind=kind,
        method="kmeans",
        rows=0,
        centroids=none,
        ids=np.empty(0, np.int32),
        radii=np.empty(0, np.float32),
        reach=float("inf"),
        cells=none,
    )


def _cells(unit: np.ndarray, rows: int) -> np.ndarray:
    """As many cells as each has rows: the search for a row's neighbours then costs the least."""
    cells = max(1, min(_wanted_cells(max(rows, len(unit))), len(unit) // CELL_ROWS))
    return kmeans(unit, cells, restarts=1, rounds=CELL_ROUNDS)


def _outgrown(cells: np.ndarray, rows: int) -> bool:
    """Whether there are no cells, or far too few for so many rows."""
    able = sample_rows(cells.shape[1]) // CELL_ROWS
    wanted = min(_wanted_cells(rows), able) if rows > FEW_ROWS else 1
    return len(cells) == 0 or wanted > OUTGROWN * len(cells)


def _wanted_cells(rows: int) -> int:
    return min(round(rows**0.5), MOST_CELLS)
