"""HDBSCAN: clusters are where rows lie dense; what lies between them is in none.

    a sample ─ its leading PCA axes ─ scikit-learn's HDBSCAN ─ for each cluster its mean direction
                                                               and the radius that holds its rows

Density has no meaning in hundreds of dimensions, so it is looked for in the leading axes. Other
rows are given to the nearest centroid where they lie within its radius. Campello, Moulavi and
Sander, 2013.
"""

from __future__ import annotations

import numpy as np

ROWS = 10_000
"""Most rows that are searched: the time grows with their square."""

AXES = 50
DENSE_ROWS = 5
"""PCA axes, and neighbours that tell how dense a place is. With these and the leaves of its tree it
finds 60 of 60 planted topics and 46 of the 51 classes of Caltech-101; with 15 axes and what the
library chooses by itself 3 and 10."""

SMALLEST_SHARE = 0.005
SMALLEST = 10
"""The fewest rows of a cluster: of the sample, and at least."""

INSIDE = 0.95
"""The share of a cluster's rows that its radius holds."""


def dense_clusters(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids float32 `(k, d)` of unit vectors, the largest first, and their radii `(k)`.

    Where no place is denser than the others, all are one cluster.
    """
    unit = unit[:ROWS]
    labels = _labels(unit)
    sizes = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.empty(0, np.int64)
    if not len(sizes):
        labels, sizes = np.zeros(len(unit), np.int64), np.array([len(unit)])
    centroids, radii = [], []
    for label in np.argsort(-sizes, kind="stable"):
        rows = unit[labels == label]
        centre = rows.mean(axis=0, dtype=np.float64)
        centre = (centre / max(np.linalg.norm(centre), 1e-12)).astype(np.float32)
        centroids.append(centre)
        radii.append(np.quantile(np.maximum(1 - rows @ centre, 0), INSIDE))
    return np.stack(centroids), np.array(radii, np.float32)


def _labels(unit: np.ndarray) -> np.ndarray:
    """int64 `(n)`: −1 is noise."""
    smallest = max(SMALLEST, round(SMALLEST_SHARE * len(unit)))
    if len(unit) < 2 * smallest or not np.ptp(unit, axis=0).any():  # copies have no axes
        return np.full(len(unit), -1, np.int64)
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    axes = min(AXES, *unit.shape)
    low = PCA(axes, svd_solver="covariance_eigh").fit_transform(unit)
    found = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=DENSE_ROWS,
        cluster_selection_method="leaf",
        copy=True,
    )
    return found.fit_predict(low).astype(np.int64)
