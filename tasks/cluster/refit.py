"""A new fit in place of one that rows have outgrown: as like the old one as the rows allow.

old fit ─┬ k-means from its centroids, unless a start of its own is clearly better ─ ids matched
         └ a map turned (UMAP: begun) where the old one's rows lie
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.spec import ClusterSpec
from tasks.cluster.make_fit import Sample, kind_fit
from tasks.cluster.match_fits import Moved, match
from tasks.geometry.fit import Fit, named


def refit(
    old: Fit,
    samples: Mapping[str, Sample],
    spec: ClusterSpec | None,
    *,
    semantic: bool,
    first_free: Mapping[str, int] | None = None,
) -> tuple[Fit, list[Moved]]:
    """A fit made from `samples` with the ids of `old` where it can, and what moved in each kind.

    `first_free`: by kind, the least id that no earlier fit gave. A kind of `old` without a sample
    is left out. Raises `MissingExtraError` where `map: umap` is not installed.
    """
    kinds, moves = {}, []
    for kind, sample in sorted(samples.items()):
        before = old.kinds.get(kind)
        made = kind_fit(kind, sample, spec, semantic=semantic, like=before)
        if made is None:
            continue
        if before is not None and len(before.centroids) and len(made.centroids):
            free = (first_free or {}).get(kind, 0)
            made, moved = match(before, made, sample.vectors, free)
            moves.append(moved)
        kinds[kind] = made
    return named(kinds), moves
