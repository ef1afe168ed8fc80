"""How many clusters a sample has, where the spec says `auto`: by its mean silhouette.

    k = 2, 3, 4, 6, 8, 11 … ─ k-means ─ silhouette ─ the smallest k about as good as the best
                                                   └ then the numbers around it

A row's silhouette (Rousseeuw, 1987) is how much nearer it is, on average, to the rows of its own
cluster than to those of the next. By cosine these averages follow from each cluster's sum of
vectors, so that the exact silhouette of all rows costs one product with k vectors.

Of labelled corpora it finds 3 for the 4 classes of AG News (business and science are one), 43 for
the 51 of Caltech-101, and 60 for 60 planted topics (`benchmarks/clusters.py`).
"""

from __future__ import annotations

import math

import numpy as np

from tasks.geometry.kmeans import kmeans, nearest

ROWS = 6_000
"""Most rows that it is chosen by: twice as many find the same in twice the time."""

MOST = 128
"""More clusters are more than a map has room to name; a spec may ask for any number."""

CLUSTER_ROWS = 20
"""Rows for each cluster on average; in a small sample the root of its rows, if that is less."""

RATIO = math.sqrt(2)
"""From one number tried to the next."""

AS_GOOD = 0.98
"""Of two numbers of clusters the smaller, where it reaches this share of the other's silhouette:
from one draw of a sample to the next it differs by as much."""

AROUND = 5
"""Numbers tried between the neighbours of the one found."""


def choose_k(unit: np.ndarray, like: np.ndarray | None = None) -> int:
    """The number of clusters of unit vectors float32 `(n, d)`: 1 where none is better apart.

    `like`: centroids of before, whose number stays where it is about as good.
    """
    some = unit[:ROWS]
    most = min(MOST, max(len(some) // CLUSTER_ROWS, math.isqrt(len(some))))
    tried = [k for k in _grid() if k <= most]
    if not tried:
        return 1
    scores = {k: _score(some, k) for k in tried}
    if max(scores.values()) <= 0:
        return 1
    found = next(k for k in tried if scores[k] >= AS_GOOD * max(scores.values()))
    place = tried.index(found)
    low = tried[place - 1] if place else found
    high = tried[place + 1] if place + 1 < len(tried) else most
    for k in sorted(set(np.linspace(low, high, AROUND + 2).round().astype(int).tolist())):
        scores.setdefault(k, _score(some, k))
    best = min((k for k in scores if low <= k <= high), key=lambda k: (-scores[k], k))
    if like is not None and len(like) > 1:
        stood = _score(some, len(like), like)
        if stood >= AS_GOOD * scores[best]:
            return len(like)
    return best


def silhouette(unit: np.ndarray, numbers: np.ndarray) -> float:
    """The mean silhouette by cosine of unit vectors float32 `(n, d)` in clusters `numbers` `(n)`.

    A row alone in its cluster counts 0, as in scikit-learn; 0 where there is one cluster.
    """
    sizes = np.bincount(numbers)
    if np.count_nonzero(sizes) < 2:
        return 0.0
    order = np.argsort(numbers, kind="stable")
    owners, starts = np.unique(numbers[order], return_index=True)
    sums = np.add.reduceat(unit[order], starts, axis=0)
    sizes = sizes[owners]
    own = np.searchsorted(owners, numbers)
    rows = np.arange(len(unit))
    cosines = unit @ sums.T
    inside = (sizes[own] - cosines[rows, own]) / np.maximum(sizes[own] - 1, 1)
    apart = 1 - cosines / sizes
    apart[rows, own] = np.inf
    outside = apart.min(axis=1)
    larger = np.maximum(np.maximum(inside, outside), np.finfo(np.float32).tiny)
    return float(np.where(sizes[own] > 1, (outside - inside) / larger, 0).mean(dtype=np.float64))


def _score(unit: np.ndarray, k: int, start: np.ndarray | None = None) -> float:
    return silhouette(unit, nearest(unit, kmeans(unit, k, start=start))[0])


def _grid() -> list[int]:
    """2, 3, 4, 6, 8, 11, 16 … `MOST`."""
    steps = round(math.log(MOST / 2, RATIO))
    return sorted({round(2 * RATIO**step) for step in range(steps + 1)})
