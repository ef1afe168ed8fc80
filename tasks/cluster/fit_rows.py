"""The fit of a planned state: a new one, one that lacks something, or one in place of another.

sample    of each kind that is to be fitted
fit       what is kept of the fit before, and what it lacks
match     clusters that are still there keep the ids that they had
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.errors import MissingExtraError
from schemas.refs import EmbedderRef, ItemsPart, PlanRef
from schemas.spec import ClusterSpec
from tasks.cluster.sample import draw_samples
from tasks.geometry.fit import Fit, KindFit, named
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef
from tasks.table.fits import free_ids

if TYPE_CHECKING:
    from tasks.cluster.make_fit import Sample

Anew = Literal["clusters", "all"]
"""What of a fit is made anew: clusters and map, since the spec asks for others; or cells, too."""


def refuse_missing_extra(spec: ClusterSpec | None) -> None:
    """Raise `MissingExtraError` where a map is asked for that nothing installed can make.

    Asked before anything is embedded, by a build that is going to make a fit.
    """
    if spec is not None and spec.map == "umap" and find_spec("umap") is None:
        raise MissingExtraError("umap-learn", "umap", "cluster.map umap", "write map: pca")


def lacking(
    fit: Fit | None, rows: Mapping[str, int], spec: ClusterSpec | None, *, semantic: bool
) -> set[str]:
    """The kinds, of so many `rows` each, for which the fit has not all that the spec asks for."""
    from tasks.cluster.make_fit import lacks

    return {
        kind
        for kind, count in rows.items()
        if lacks(fit, kind, spec, semantic=semantic, rows=count)
    }


def fit_rows(
    known: Fit | None,
    kinds: Collection[str],
    spec: ClusterSpec | None,
    plan: PlanRef,
    items: Sequence[ItemsPart],
    embedder: EmbedderRef,
    table: TableRef,
    version: int | None,
    store: Store,
    *,
    semantic: bool,
    anew: Anew | None = None,
) -> Fit:
    """`known` with what it lacks for `kinds`, or a fit of `kinds` in its place.

    `anew`: what of it is made again; None: nothing, it is extended. Where that leads to the same
    but for rounding, `known` itself. See `draw_samples` for the
    rows. Raises `MissingExtraError` where `map: umap` is not installed.
    """
    from tasks.cluster.make_fit import extend
    from tasks.cluster.refit import refit

    samples = draw_samples(plan, items, kinds, embedder, table, version, store)
    if known is None or anew is None:
        return extend(known, samples, spec, semantic=semantic)
    free = free_ids(table)
    fit, _ = refit(known, samples, spec, semantic=semantic, first_free=free)
    made = named(
        {
            kind: _in_order(own, known.kinds.get(kind) if anew == "clusters" else None)
            for kind, own in fit.kinds.items()
        }
    )
    return known if _stands(known, made, samples) else made


SAME_PLACE = 1e-3
"""Share of a map's width, and of a reach, that is nothing: what a refit of the same rows differs by
(a map that is turned to lie as it lay is off by rounding alone)."""


def _stands(known: Fit, made: Fit, samples: Mapping[str, Sample]) -> bool:
    """Whether `made` is `known` but for rounding: then a refit writes nothing."""
    if known.kinds.keys() != made.kinds.keys() or not samples.keys() >= made.kinds.keys():
        return False
    pairs = [(known.kinds[kind], made.kinds[kind], samples[kind]) for kind in made.kinds]
    return all(_alike(old, new, sample.vectors) for old, new, sample in pairs)


def _alike(old: KindFit, new: KindFit, vectors: np.ndarray) -> bool:
    from tasks.geometry.place import place

    if (old.method, old.rows, type(old.map)) != (new.method, new.rows, type(new.map)):
        return False
    if old.reach != new.reach and not np.isclose(old.reach, new.reach, rtol=SAME_PLACE):
        return False
    if not (np.array_equal(old.cells, new.cells) and np.array_equal(old.ids, new.ids)):
        return False
    was, now = place(old, vectors), place(new, vectors)
    if not np.array_equal(was.cluster, now.cluster):
        return False
    places, others = (np.stack([each.x, each.y]) for each in (was, now))
    shown = np.isfinite(places).all(axis=0)
    if not shown.any():
        return True
    width = np.ptp(places[:, shown], axis=1).max()
    return bool(np.abs(places - others)[:, shown].max() <= SAME_PLACE * width)


def _in_order(own: KindFit, cells_of: KindFit | None) -> KindFit:
    """The fit by cluster ids, as it is read again; with the cells of another that has some."""
    order = np.argsort(own.ids)
    if cells_of is not None and len(cells_of.cells) and len(own.cells):
        own = replace(own, cells=cells_of.cells)
    return replace(own, centroids=own.centroids[order], ids=own.ids[order], radii=own.radii[order])
