"""Two dimensions of a sample: PCA, or UMAP where that extra is installed.

A map has no top and no left: one that follows another is turned so that the rows of the old one lie
where they lay, as nearly as they can (Procrustes, after Schönemann, 1966).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from schemas.errors import MissingExtraError
from tasks.geometry.fit import AnchorMap, PlaneMap
from tasks.geometry.place import map_places

Map = PlaneMap | AnchorMap

ANCHORS = 10_000
"""Most rows that UMAP is fitted on, each of which becomes an anchor: 15 CPU-seconds and, at 384
dimensions, 15 MB in the companion."""

FEWEST = 16
"""Rows that have neighbourhoods: fewer lie as PCA puts them."""

UMAP_NEIGHBOURS = 15
UMAP_SPREAD = 0.1
"""Neighbours and `min_dist` as umap-learn takes them by itself."""

SEED = 20_261_120

BATCH_ROWS = 8_192
"""Rows taken to float64 at a time."""


def plane_map(unit: np.ndarray, _contents: np.ndarray, like: Map | None = None) -> PlaneMap:
    """The two directions in which the unit vectors float32 `(n, d)` vary most (PCA).

    Which end of an axis is positive is decided by its largest component, or by the map before it.
    Missing axes (fewer than two dimensions) are zero.
    """
    mean = unit.mean(axis=0, dtype=np.float64)
    second = -np.outer(mean, mean)
    for start in range(0, len(unit), BATCH_ROWS):
        some = unit[start : start + BATCH_ROWS].astype(np.float64)
        second += some.T @ some / len(unit)
    found = np.linalg.eigh(second)[1][:, ::-1][:, :2]
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    axes = np.zeros((unit.shape[1], 2))
    axes[:, : found.shape[1]] = found * np.sign(largest)
    made = PlaneMap(mean.astype(np.float32), axes.astype(np.float32))
    before = _before(like, unit)
    if before is None:
        return made
    turn, _ = _turn(map_places(made, unit), before)
    return PlaneMap(made.mean, (axes @ turn).astype(np.float32))


def anchor_map(unit: np.ndarray, contents: np.ndarray, like: Map | None = None) -> AnchorMap:
    """UMAP of the first `ANCHORS` of the unit vectors; `contents` (`S16`) are their hashes.

    It begins from the map before it. Raises `MissingExtraError`.
    """
    unit, contents = unit[:ANCHORS], contents[:ANCHORS]
    if len(unit) < FEWEST:
        return AnchorMap(unit, map_places(plane_map(unit, contents, like), unit), contents)
    umap = _umap()
    before = _before(like, unit)
    with warnings.catch_warnings():
        # Where rows fall into parts without any link, it begins at random: a map all the same.
        warnings.filterwarnings("ignore", message="Spectral initiali", category=UserWarning)
        places = umap.UMAP(
            n_neighbors=min(UMAP_NEIGHBOURS, len(unit) - 1),
            min_dist=UMAP_SPREAD,
            metric="cosine",
            init="spectral" if before is None else before,
            random_state=SEED,
            n_jobs=1,  # with a seed there is one thread anyway; said so, it does not warn
        ).fit_transform(unit)
    places = np.asarray(places, np.float64)
    if before is not None:
        turn, shift = _turn(places, before)
        places = places @ turn + shift
    return AnchorMap(unit, np.ascontiguousarray(places, np.float32), contents)


MAPS: dict[str, Callable[[np.ndarray, np.ndarray, Map | None], Map]] = {
    "pca": plane_map,
    "umap": anchor_map,
}
"""By the word of the spec."""


def _before(like: Map | None, unit: np.ndarray) -> np.ndarray | None:
    """Where the rows lay, float32 `(n, 2)`; None where there was no map, or all lay in a line."""
    if like is None:
        return None
    before = map_places(like, unit)
    flat = not np.isfinite(before).all() or (np.ptp(before, axis=0) == 0).any()
    return None if flat else before


def _turn(places: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation or reflection `(2, 2)` and shift `(2)` that bring `places` next to `before`."""
    one, other = places.astype(np.float64), before.astype(np.float64)
    left, _, right = np.linalg.svd((one - one.mean(axis=0)).T @ (other - other.mean(axis=0)))
    turn = left @ right
    return turn, other.mean(axis=0) - one.mean(axis=0) @ turn


def _umap() -> Any:
    try:
        import umap
    except ImportError as missing:
        raise MissingExtraError(
            "umap-learn", "umap", "cluster.map umap", "write map: pca"
        ) from missing
    return umap
