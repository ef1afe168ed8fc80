"""A fit: what clusters, map and neighbours are judged by, for each kind of a space apart.

It is made once and kept, so that ids and places of rows stay where they are from build to build;
whatever a row gets from a fit is a function of its vector and of the fit alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class PlaneMap:
    """A linear map: `(vector − mean) · axes`; `mean` is float32 `(d)`, `axes` `(d, 2)`."""

    mean: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class AnchorMap:
    """A map known at `m` anchors: unit vectors float32 `(m, d)`, their places float32 `(m, 2)`.

    `contents` (`S16`) are the anchors' content hashes: a forgotten one leaves the fit.
    """

    vectors: np.ndarray
    places: np.ndarray
    contents: np.ndarray


@dataclass(frozen=True)
class KindFit:
    """The fit of one kind. Everything is made of unit vectors; distances are `1 − cosine`.

    `k` or `c` may be 0: clusters, or the search for semantic duplicates, are off (or too few rows).
    """

    kind: str  # text | image
    method: str  # kmeans | hdbscan
    rows: int  # of the sample that it was made from
    centroids: np.ndarray  # float32 (k, d), unit length
    ids: np.ndarray  # int32 (k): the cluster ids, which a refit may carry over
    radii: np.ndarray  # float32 (k): a row farther from its centroid is in no cluster; inf: none is
    reach: float  # distance to the own centroid that 99 % of the sample stay within
    cells: np.ndarray  # float32 (c, d), unit length: where neighbours are looked for
    map: PlaneMap | AnchorMap | None = None


@dataclass(frozen=True)
class Fit:
    """All kinds of a space. `fit_id` names it in manifests and in the companions."""

    fit_id: str
    kinds: Mapping[str, KindFit] = field(default_factory=dict)


def named(kinds: Mapping[str, KindFit]) -> Fit:
    """The fit of these kinds: its name is a digest of all that is in them."""
    digest = hashlib.blake2b(digest_size=6)
    for kind in sorted(kinds):
        for part in _parts(kinds[kind]):
            digest.update(f"{len(part)} ".encode() + part)
    return Fit(f"fit-{digest.hexdigest()}", dict(kinds))


def _parts(own: KindFit) -> Iterator[bytes]:
    yield f"{own.kind} {own.method} {own.rows} {own.reach}".encode()
    arrays = [own.centroids, own.ids, own.radii, own.cells]
    if isinstance(own.map, PlaneMap):
        arrays += [own.map.mean, own.map.axes]
    elif own.map is not None:
        arrays += [own.map.vectors, own.map.places, own.map.contents]
    for array in arrays:
        yield f"{array.dtype.str} {array.shape}".encode()
        yield array.tobytes()
