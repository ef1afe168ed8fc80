"""What is judged by vectors: the fit that stands or a new one, and semantic duplicates by it.

    settle    the release's fit; made first, extended by what it lacks, or made anew
    mark      semantic duplicates, from that fit
    plan      again, with every verdict; every row, where published ones get another place

A build that changes nothing, and judges as its release did, does none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from pydantic import ValidationError

from flows.embedding import plan_state
from flows.job import Job
from flows.outcome import Made
from flows.standing import Held, Standing, cluster_of, other_clusters
from schemas.errors import UsageError
from schemas.refs import ItemsPart, PlanRef
from schemas.spec import DedupeSpec, SpaceSpec
from tasks.cluster.fit_rows import Anew, fit_rows, lacking, refuse_missing_extra
from tasks.geometry.fit import AnchorMap, Fit, KindFit, PlaneMap
from tasks.table.fits import read_fit
from tasks.table.releases import Release


def judge_rows(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """`made` with its fit, all verdicts on duplicates, and the plan that follows from them."""
    plan, state = made.plan, made.state
    assert plan is not None
    assert state is not None
    release = standing.release
    if not wants_fit(job.spec):
        return replace(made, judged=True)
    if not made.changes and not job.overrides.refit and _judged_alike(job, made, release):
        assert release is not None
        return replace(made, fit_id=release.manifest.fit_id)
    known = _published_fit(job, release)
    fit = _settled(job, standing, made, held, known)
    new = fit is not known and bool(fit.kinds)
    made = replace(made, fit=fit, fit_id=fit.fit_id if fit.kinds else None, new_fit=new)
    made = replace(made, judged=True)
    rewrite = _moved_kinds(known, fit) & _kinds_that_stay(plan, state.items)
    if job.spec.dedupe.semantic is not None:
        made = _marked(job, standing, made, held)
    elif not rewrite or plan.overwrite:
        return made
    held = replace(held, overwrite=held.overwrite or bool(rewrite))
    return plan_state(job, standing, made, held)


def check_fit(job: Job, release: Release | None) -> None:
    """Refuse what no fit can be made for, before anything is read.

    Raises `UsageError` for a refit of nothing, `MissingExtraError` for a map without its package.
    """
    spec = job.spec
    if job.overrides.refit and not wants_fit(spec):
        raise UsageError(
            f"space {spec.space!r}: cluster and dedupe.semantic are off, so there is no fit to "
            "make anew; write for example `cluster: {k: auto}` and run `vecmill build`"
        )
    if job.overrides.refit and release is None:
        raise UsageError(
            f"space {spec.space!r} at {spec.uri} has no release that could be fitted anew; run "
            "`vecmill build` first"
        )
    stands = release is not None and release.manifest.fit_id is not None
    if job.overrides.refit or not stands or other_clusters(job, release):
        refuse_missing_extra(spec.cluster)


def standing_fit_id(job: Job, release: Release | None) -> str | None:
    """The fit that a build begins with: the release's, where the spec still asks for that."""
    if release is None or not wants_fit(job.spec) or other_clusters(job, release):
        return None
    return release.manifest.fit_id


def wants_fit(spec: SpaceSpec) -> bool:
    """Whether anything of the space is judged by vectors."""
    return spec.cluster is not None or spec.dedupe.semantic is not None


def _judged_alike(job: Job, made: Made, release: Release | None) -> bool:
    """Whether the release was judged by the same rules, in the same order of what is kept.

    That order looks at what no hash covers: times, and the sizes of pictures, which one that is
    kept without its file has not. They are the same where the files are.
    """
    if release is None:
        return False
    before, spec = release.manifest.resolved_spec, job.spec
    if _dedupe_of(before) != spec.dedupe or cluster_of(before) != spec.cluster:
        return False
    if spec.dedupe.semantic is None or not _order_may_change(spec):
        return True
    assert made.state is not None
    was = {source.name: source.fingerprint for source in release.manifest.sources}
    return was == {source.name: source.fingerprint for source in made.state.sources}


def _order_may_change(spec: SpaceSpec) -> bool:
    """Whether rows may come in another order of what is kept, and be the same rows."""
    keep = set(spec.dedupe.keep)
    if keep & {"earliest", "latest"} and any(source.time for source in spec.sources):
        return True
    pictures = any(source.kind == "image" and source.mode == "append" for source in spec.sources)
    return pictures and bool(keep & {"longest", "shortest"})


def _dedupe_of(resolved: dict) -> DedupeSpec | None:
    try:
        return DedupeSpec.model_validate(resolved["dedupe"])
    except (KeyError, ValidationError):
        return None


def _published_fit(job: Job, release: Release | None) -> Fit | None:
    if release is None or release.manifest.fit_id is None:
        return None
    return job.runner.run("cluster", read_fit, job.table, release.manifest.fit_id)


def _settled(job: Job, standing: Standing, made: Made, held: Held, known: Fit | None) -> Fit:
    """The fit that the build judges by: `known`, as far as it goes and the spec still asks for it.

    Clusters of another spec are made anew, and cells stay; a refit makes everything anew. Both
    take over the ids of clusters that are still there.
    """
    plan, state = made.plan, made.state
    assert plan is not None
    assert state is not None
    spec, semantic = job.spec.cluster, job.spec.dedupe.semantic is not None
    rows: dict[str, int] = {}
    for part in state.items:
        if part.items:
            rows[part.kind] = rows.get(part.kind, 0) + part.items
    kinds = set(rows)
    anew: Anew | None = None
    if known is not None and (job.overrides.refit or held.other_clusters):
        anew = "all" if job.overrides.refit else "clusters"
    else:
        kinds = lacking(known, rows, spec, semantic=semantic)
        if known is not None and not kinds:
            return known
    return job.runner.run(
        "cluster",
        fit_rows,
        known,
        kinds,
        spec,
        plan,
        state.items,
        standing.embedder,
        job.table,
        held.plan.version,
        job.store,
        semantic=semantic,
        anew=anew,
    )


def _marked(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """`made` with the marks of every tier, for the plan that follows."""
    from tasks.dedupe.vectors.semantic import mark_semantic

    assert made.state is not None
    path = job.runner.run(
        "cluster",
        mark_semantic,
        made.plan,
        made.state.items,
        made.state.duplicates,
        made.fit,
        standing.embedder,
        held.plan,
        job.spec.dedupe,
        job.store,
    )
    return replace(made, state=replace(made.state, duplicates=path))


def _moved_kinds(known: Fit | None, fit: Fit) -> set[str]:
    """Kinds whose published rows have another cluster or place by `fit` than by `known`."""
    kinds = {*fit.kinds, *(known.kinds if known else {})}
    return {
        kind
        for kind in kinds
        if not _same_places(known.kinds.get(kind) if known else None, fit.kinds.get(kind))
    }


def _same_places(old: KindFit | None, new: KindFit | None) -> bool:
    """Whether both put every row in the same place; None puts it in none."""
    one, other = (_placing(each) for each in (old, new))
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def _placing(own: KindFit | None) -> list[np.ndarray]:
    """The arrays that decide on cluster and place."""
    if own is None:
        return []
    arrays = [own.centroids, own.ids, own.radii] if len(own.centroids) else []
    if isinstance(own.map, PlaneMap):
        arrays += [own.map.mean, own.map.axes]
    elif isinstance(own.map, AnchorMap):
        arrays += [own.map.vectors, own.map.places]
    return arrays


def _kinds_that_stay(plan: PlanRef, items: Sequence[ItemsPart]) -> set[str]:
    """The kinds of which the plan would leave published rows as they are."""
    if not plan.classes["unchanged"]:
        return set()
    rows = pl.scan_parquet(plan.path).filter(pl.col("class") == "unchanged")
    parts = set(rows.select(pl.col("part").unique()).collect()["part"])
    return {part.kind for part in items if part.path in parts}
