"""Two dimensions of a sample: PCA, or UMAP where that extra is installed."""

from __future__ import annotations

import numpy as np

from schemas.errors import MissingExtraError
from tasks.geometry.fit import AnchorMap, PlaneMap
from tasks.geometry.place import map_places

ANCHORS = 10_000
"""Most rows that UMAP is fitted on, each of which becomes an anchor: 15 CPU-seconds and, at 384
dimensions, 15 MB in the companion."""

UMAP_NEIGHBOURS = 15
UMAP_SPREAD = 0.1
"""Neighbours and `min_dist` as umap-learn takes them by itself."""

SEED = 20_261_120


def plane_map(unit: np.ndarray) -> PlaneMap:
    """The two directions in which the unit vectors float32 `(n, d)` vary most (PCA).

    Which end of an axis is positive is decided by its largest component. Missing axes (fewer than
    two rows or dimensions) are zero.
    """
    dimensions = unit.shape[1]
    mean = unit.mean(axis=0, dtype=np.float64)
    second = unit.T.astype(np.float64) @ unit / max(len(unit), 1) - np.outer(mean, mean)
    _, vectors = np.linalg.eigh(second)
    axes = np.zeros((dimensions, 2))
    found = vectors[:, ::-1][:, :2]
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    axes[:, : found.shape[1]] = found * np.sign(largest)
    return PlaneMap(mean.astype(np.float32), axes.astype(np.float32))


def anchor_map(unit: np.ndarray, contents: np.ndarray) -> AnchorMap:
    """UMAP of the first `ANCHORS` of the unit vectors; `contents` (`S16`) are their hashes.

    A handful, which has no neighbourhoods, lies as PCA puts it. Raises `MissingExtraError`.
    """
    umap = _umap()
    unit, contents = unit[:ANCHORS], contents[:ANCHORS]
    if len(unit) < FEWEST:
        return AnchorMap(unit, map_places(plane_map(unit), unit), contents)
    places = umap.UMAP(
        n_neighbors=min(UMAP_NEIGHBOURS, len(unit) - 1),
        min_dist=UMAP_SPREAD,
        metric="cosine",
        random_state=SEED,
        n_jobs=1,  # with a seed there is one thread anyway; said so, it does not warn
    ).fit_transform(unit)
    return AnchorMap(unit, np.ascontiguousarray(places, np.float32), contents)


FEWEST = 16
"""Rows that UMAP can be fitted on."""


def _umap():
    try:
        import umap
    except ImportError as missing:
        raise MissingExtraError(
            "umap-learn", "umap", "cluster.map umap", "write map: pca"
        ) from missing
    return umap
