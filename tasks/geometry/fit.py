"""A fit: what clusters, map and neighbours are judged by, for each kind of a space apart.

It is made once and kept, so that ids and places of rows stay where they are from build to build;
whatever a row gets from a fit is a function of its vector and of the fit alone.
"""

from __future__ import annotations

from collections.abc import Mapping
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
