"""The fit of a planned state: a new one, one that lacks something, or one in place of another.

sample    of each kind that is to be fitted
fit       what is kept of the fit before, and what it lacks
match     clusters that are still there keep the ids that they had
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.util import find_spec

from schemas.errors import MissingExtraError
from schemas.refs import EmbedderRef, ItemsPart, PlanRef
from schemas.spec import ClusterSpec
from tasks.cluster.sample import draw_samples
from tasks.geometry.fit import Fit
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef


def refuse_missing_extra(spec: ClusterSpec | None) -> None:
    """Raise `MissingExtraError` where a map is asked for that nothing installed can make.

    Asked before anything is embedded, by a build that is going to make a fit.
    """
    if spec is not None and spec.map == "umap" and find_spec("umap") is None:
        raise MissingExtraError("umap-learn", "umap", "cluster.map umap", "write map: pca")


def lacking(
    fit: Fit | None, kinds: Collection[str], spec: ClusterSpec | None, *, semantic: bool
) -> set[str]:
    """The kinds for which the fit has not all that the spec asks for."""
    from tasks.cluster.make_fit import lacks

    return {kind for kind in kinds if lacks(fit, kind, spec, semantic=semantic)}


def fit_rows(
    kept: Fit | None,
    replaced: Fit | None,
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
) -> Fit:
    """`kept` with what it lacks for `kinds`; None: a fit from the ground up.

    `replaced` is the fit whose clusters give their ids to those that take their place. See
    `draw_samples` for the rows. Raises `MissingExtraError` where `map: umap` is not installed.
    """
    from tasks.cluster.make_fit import extend, make_fit
    from tasks.cluster.match_fits import match_fits

    samples = draw_samples(plan, items, kinds, embedder, table, version, store)
    if kept is None:
        fit = make_fit(samples, spec, semantic=semantic)
    else:
        fit = extend(kept, samples, spec, semantic=semantic)
    return fit if replaced is None else match_fits(replaced, fit)
