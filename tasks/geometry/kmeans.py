"""Spherical k-means: k directions that the vectors of a sample lie close to.

    seeds drawn far apart ─ faiss ─ centroids        a few times; the best of them is kept
    centroids without rows dropped, the others by size

By cosine alone (Dhillon and Modha, 2001), seeds as of Arthur and Vassilvitskii, 2007. The same rows
give the same centroids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tasks.processes.cores import usable_cores

SEED = 20_261_120
"""The same rows get the same centroids."""

ROUNDS = 25
"""Of a restart: as many as faiss takes by itself; what is gained later moves hardly a row."""

RESTARTS = 3
"""Of 60 planted topics one start finds 55 to 58, the best of three 58 to 60."""

SEEDED_FROM = 16
"""Rows for each centroid among which its seed is drawn."""

MOST_TRIED = 512
"""With more centroids a seed is drawn once: the cost of choosing grows with their square."""


def kmeans(
    unit: np.ndarray,
    k: int,
    *,
    restarts: int = RESTARTS,
    rounds: int = ROUNDS,
    start: np.ndarray | None = None,
    spherical: bool = True,
) -> np.ndarray:
    """At most `k` centroids of the unit vectors float32 `(n, d)`: unit, float32 `(≤ k, d)`.

    Fewer where fewer rows differ. The largest comes first. `start` `(k, d)`: begin there, once.
    Not `spherical`: by distance, and the centroids are means, shorter than 1.
    """
    unit = np.ascontiguousarray(unit, np.float32)
    draw = np.random.default_rng(SEED)
    starts = [start] if start is not None else (seeds(unit, k, draw) for _ in range(restarts))
    found, best = np.empty((0, unit.shape[1]), np.float32), -np.inf
    with faiss_threads():
        for each in starts:
            if not len(each):
                continue
            centroids, objective = _trained(unit, each, rounds, spherical)
            if objective > best:
                found, best = centroids, objective
    return found


def nearest(unit: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each unit vector the number of its nearest centroid, int64 `(n)`, and their cosine.

    For training: the last bit may depend on the rows beside it (not so `tasks.geometry.place`).
    """
    with faiss_threads() as faiss:
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(centroids)
        cosines, numbers = index.search(np.ascontiguousarray(unit, np.float32), 1)
    return numbers[:, 0], cosines[:, 0]


def seeds(unit: np.ndarray, k: int, draw: np.random.Generator) -> np.ndarray:
    """At most `k` different rows of `unit`, each drawn the likelier the farther from the others.

    Of a few draws the one is taken that leaves the rows nearest to what is chosen.
    """
    some = unit[draw.choice(len(unit), min(len(unit), k * SEEDED_FROM), replace=False)]
    if len(some) == 0:
        return some
    tries = 2 + int(math.log(k)) if k <= MOST_TRIED else 1
    chosen, far = [0], _distances(some, some[:1])[0]
    while len(chosen) < min(k, len(some)):
        reach = np.cumsum(far, dtype=np.float64)
        if reach[-1] == 0:  # all that is left are copies of what was chosen
            break
        able = np.searchsorted(reach, draw.random(tries) * reach[-1], side="right")
        left = np.minimum(far, _distances(some, some[able]))
        best = int(left.sum(axis=1, dtype=np.float64).argmin())
        chosen.append(int(able[best]))
        far = left[best]
    return some[chosen]


def _distances(some: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`1 − cosine` of each of `points` to the rows, float32 `(points, n)`; 0 between copies."""
    far = 1 - points @ some.T
    far[far < COPY] = 0
    return far


COPY = 1e-6
"""A smaller distance is rounding: of a float32 product of unit vectors."""


def _trained(
    unit: np.ndarray, start: np.ndarray, rounds: int, spherical: bool
) -> tuple[np.ndarray, float]:
    """Centroids by size, those without rows left out; and how near rows are to them on average."""
    k, dimensions = start.shape
    import faiss

    most = -(-len(unit) // k)  # faiss takes a sample of its own beyond k times so many
    own = faiss.Kmeans(
        dimensions,
        k,
        niter=rounds,
        spherical=spherical,
        seed=SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=most,
    )
    own.train(unit, init_centroids=np.ascontiguousarray(start, np.float32))
    near, numbers = own.assign(unit)  # cosines, or squared distances
    sizes = np.bincount(numbers, minlength=k)
    order = np.argsort(-sizes, kind="stable")
    return own.centroids[order[sizes[order] > 0]].copy(), float(near.mean(dtype=np.float64)) * (
        1 if spherical else -1
    )


@contextmanager
def faiss_threads() -> Iterator[Any]:
    """The module faiss, working with the cores that this process may use."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(usable_cores("OMP_NUM_THREADS"))
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)
