"""The clusters of a sample by the method that the spec names: centroids, radii, reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schemas.spec import ClusterSpec
from tasks.cluster.choose_k import choose_k
from tasks.cluster.hdbscan import dense_clusters
from tasks.geometry.kmeans import kmeans, nearest

REACH_SHARE = 0.99
"""The share of the sample that the reach of a fit holds."""


@dataclass(frozen=True)
class Clusters:
    """`k` centroids, the largest first; as the fields of `KindFit`."""

    centroids: np.ndarray  # float32 (k, d), unit length
    radii: np.ndarray  # float32 (k)
    reach: float


def clusters(unit: np.ndarray, spec: ClusterSpec) -> Clusters:
    """The clusters of unit vectors float32 `(n, d)`, `n ≥ 1`: at least one."""
    centroids, radii = METHODS[spec.method](unit, spec)
    far = 1 - nearest(unit, centroids)[1]
    return Clusters(centroids, radii, float(np.quantile(np.maximum(far, 0), REACH_SHARE)))


def _kmeans(unit: np.ndarray, spec: ClusterSpec) -> tuple[np.ndarray, np.ndarray]:
    k = choose_k(unit) if spec.k == "auto" else spec.k
    centroids = kmeans(unit, k)
    return centroids, np.full(len(centroids), np.inf, np.float32)


def _hdbscan(unit: np.ndarray, _: ClusterSpec) -> tuple[np.ndarray, np.ndarray]:
    return dense_clusters(unit)


METHODS: dict[str, Callable[[np.ndarray, ClusterSpec], tuple[np.ndarray, np.ndarray]]] = {
    "kmeans": _kmeans,
    "hdbscan": _hdbscan,
}
