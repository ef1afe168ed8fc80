"""The clusters of a sample by the method that the spec names: centroids, radii, reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schemas.spec import ClusterSpec
from tasks.cluster.choose_k import choose_k
from tasks.cluster.hdbscan import dense_clusters
from tasks.geometry.kmeans import SEED, kmeans, nearest, seeds

TRAINING_ROWS = 10_000
CLUSTER_ROWS = 256
"""Rows that k-means is trained on: at least, and for each cluster, as many as faiss takes; the
V-measure of 60 planted topics is 0.99 so, and with three times the rows."""

BETTER = 0.02
"""A new start is taken when its rows lie this share nearer to their centroids than from the old
ones: by less, two starts on the same rows differ too."""

LIKE_ROUNDS = 10
"""Of k-means from the old centroids: more of them gain next to nothing and move more ids."""

REACH_SHARE = 0.99
"""The share of the sample that the reach of a fit holds."""


@dataclass(frozen=True)
class Clusters:
    """`k` centroids, the largest first; as the fields of `KindFit`."""

    centroids: np.ndarray  # float32 (k, d), unit length
    radii: np.ndarray  # float32 (k)
    reach: float


def clusters(unit: np.ndarray, spec: ClusterSpec, like: np.ndarray | None = None) -> Clusters:
    """The clusters of unit vectors float32 `(n, d)`, `n ≥ 1`: at least one.

    `like`: centroids that those of k-means should stay near.
    """
    centroids, radii = METHODS[spec.method](unit, spec, like)
    far = 1 - nearest(unit, centroids)[1]
    return Clusters(centroids, radii, float(np.quantile(np.maximum(far, 0), REACH_SHARE)))


Made = tuple[np.ndarray, np.ndarray]
"""Centroids and their radii."""


def _kmeans(unit: np.ndarray, spec: ClusterSpec, like: np.ndarray | None) -> Made:
    if like is not None and not len(like):
        like = None
    k = choose_k(unit, like) if spec.k == "auto" else spec.k
    unit = unit[: max(TRAINING_ROWS, k * CLUSTER_ROWS)]
    centroids = kmeans(unit, k)
    if like is not None:
        near = kmeans(unit, k, start=_start(unit, k, like), rounds=LIKE_ROUNDS)
        if _mean_distance(unit, near) <= (1 + BETTER) * _mean_distance(unit, centroids):
            centroids = near
    return centroids, np.full(len(centroids), np.inf, np.float32)


def _start(unit: np.ndarray, k: int, like: np.ndarray) -> np.ndarray:
    """`k` centroids: those of `like`, the last left out, or more drawn from the rows."""
    if len(like) < k:
        more = seeds(unit, k - len(like), np.random.default_rng(SEED))
        like = np.concatenate([like, more])
    return like[:k]


def _mean_distance(unit: np.ndarray, centroids: np.ndarray) -> float:
    return float((1 - nearest(unit, centroids)[1]).mean(dtype=np.float64))


def _hdbscan(unit: np.ndarray, _spec: ClusterSpec, _like: np.ndarray | None) -> Made:
    return dense_clusters(unit)


METHODS: dict[str, Callable[[np.ndarray, ClusterSpec, np.ndarray | None], Made]] = {
    "kmeans": _kmeans,
    "hdbscan": _hdbscan,
}
