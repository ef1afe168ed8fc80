"""Where a fit puts a row: its cluster, its place on the map, how far it is from its centroid.

    vectors ─ float16 and back, length 1 ─ centroids → cluster, distance
                                         └ map       → x, y

A function of the vector and of the fit, to the last bit: fast float32 products only find who may be
nearest, and what is close is decided in float64, summed row by row, whatever rows are beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.geometry.fit import AnchorMap, KindFit, PlaneMap
from tasks.geometry.kmeans import faiss_threads
from tasks.geometry.unit import unit_vectors

BATCH_ROWS = 4_096
"""Rows placed at a time: their products with 4,096 centroids are 64 MB."""

SLACK = 1e-5
"""Float32 products of unit vectors differ by less with the rows beside them (3e-7 at 384)."""

NEIGHBOURS = 3
"""Anchors that a place is made of. Of more the mean lies between groups: trustworthiness of 4,000
docstrings placed by 5,000 others 0.89 with 3, 0.87 with 8, 0.84 with 30; theirs is 0.94."""

SPARE = 4
"""More anchors that are looked at, since float32 may swap the last ones."""


@dataclass(frozen=True)
class Placed:
    """What `n` rows get from a fit.

    `cluster` int32: −1 is none. `x`, `y` float32: NaN where the fit has no map, or the vector no
    direction. `distance` float32, `1 − cosine` to the nearest centroid: infinite without one.
    """

    cluster: np.ndarray
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.cluster)


def place(fit: KindFit, vectors: np.ndarray) -> Placed:
    """Cluster, map place and distance of each of `vectors`, float32 or float16 `(n, d)`."""
    rows = len(vectors)
    cluster, distance = np.full(rows, -1, np.int32), np.full(rows, np.inf, np.float32)
    places = np.full((rows, 2), np.nan, np.float32)
    for start in range(0, rows, BATCH_ROWS):
        some = slice(start, start + BATCH_ROWS)
        unit = unit_vectors(vectors[some])
        lost = np.logical_not(unit.any(axis=1))
        if len(fit.centroids):
            number, far = nearest_centroid(unit, fit.centroids)
            cluster[some] = np.where((far <= fit.radii[number]) & ~lost, fit.ids[number], -1)
            distance[some] = np.where(lost, np.inf, far)
        if fit.map is not None:
            places[some] = map_places(fit.map, unit)
            places[some][lost] = np.nan
    return Placed(cluster, places[:, 0].copy(), places[:, 1].copy(), distance)


def nearest_centroid(unit: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of the nearest centroid, int64 `(n)` (of equal ones the first); `1 − cosine`."""
    cosines = unit @ centroids.T
    number = cosines.argmax(axis=1)
    close = cosines >= cosines[np.arange(len(unit)), number][:, None] - SLACK
    exact = _cosines(unit, centroids[number])
    for row in np.flatnonzero(close.sum(axis=1) > 1):  # few: a tie to the fifth digit
        able = np.flatnonzero(close[row])
        found = _cosines(np.broadcast_to(unit[row], (len(able), unit.shape[1])), centroids[able])
        number[row], exact[row] = able[found.argmax()], found.max()
    return number, np.maximum(1 - exact, 0).astype(np.float32)


def map_places(plane: PlaneMap | AnchorMap, unit: np.ndarray) -> np.ndarray:
    """float32 `(n, 2)`: where unit vectors lie on the map."""
    if isinstance(plane, PlaneMap):
        away = unit.astype(np.float64) - plane.mean
        axes = plane.axes.astype(np.float64)
        return np.stack([np.einsum("nd,d->n", away, axes[:, i]) for i in range(2)], axis=1).astype(
            np.float32
        )
    return _between_anchors(plane, unit)


def _between_anchors(plane: AnchorMap, unit: np.ndarray) -> np.ndarray:
    """The mean of the nearest anchors' places, weighed by `((R − r) / (R r))²`.

    `r` is an anchor's distance and `R` that of the first one left out (Franke and Nielson, 1980):
    an anchor lies where it lies, and a place changes smoothly with the vector.
    """
    anchors = len(plane.vectors)
    if anchors == 0:
        return np.full((len(unit), 2), np.nan, np.float32)
    wanted = min(NEIGHBOURS + 1, anchors)
    able = min(wanted + SPARE, anchors)
    with faiss_threads() as faiss:
        _, found = faiss.knn(unit, plane.vectors, able, metric=faiss.METRIC_INNER_PRODUCT)
    wide = unit.astype(np.float64)
    exact = np.stack([_cosines(wide, plane.vectors[found[:, i]]) for i in range(able)], axis=1)
    order = np.lexsort((found, -exact), axis=1)[:, :wanted]
    found = np.take_along_axis(found, order, axis=1)
    away = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(exact, order, axis=1), 0))
    away = np.maximum(away, ON_ANCHOR)
    edge = away[:, -1:] if wanted > NEIGHBOURS else away[:, -1:] * 2
    weights = ((edge - away) / (edge * away)) ** 2
    level = weights.sum(axis=1) == 0  # all as far as the first left out
    weights[level] = 1
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkj->nj", weights, plane.places[found].astype(np.float64)).astype(
        np.float32
    )


ON_ANCHOR = 1e-6
"""A nearer anchor is the row itself: float32 unit vectors are as far from length 1."""


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float64 `(n)`, row by row."""
    return np.einsum("nd,nd->n", one.astype(np.float64), other.astype(np.float64))
