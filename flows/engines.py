"""Engine and precision of a build: those of the space, else chosen here, and checked before use.

known_engine     what the release or the workdir records; `auto` stays where nothing does
settle_engine    before the plan: measured and recorded where it still is `auto`
check_engine     before the shards: once for each engine, machine and version of its libraries
"""

from __future__ import annotations

from dataclasses import replace

from flows.gather import State
from flows.job import Job
from flows.standing import Standing
from schemas.manifest import AuditResult
from schemas.refs import EmbedderRef, PlanRef


def settle_engine(job: Job, standing: Standing, state: State) -> Standing:
    """`standing` with an engine to plan with: vectors are found under its name.

    Nothing is measured in a dry run, or for a state without items: then it stays undecided.
    """
    if standing.embedder.decided or job.overrides.dry_run:
        return standing
    if not any(part.items for part in state.items):
        return standing
    from tasks.embedders.engine_choice import choose

    embedder = job.runner.run(
        "start_up", choose, standing.embedder, job.spec.kinds, job.build_id, job.runner.say
    )
    return replace(standing, embedder=embedder)


def check_engine(job: Job, standing: Standing, plan: PlanRef) -> list[AuditResult]:
    """The verdict `engine` on what computes the vectors, `[]` where none is known.

    Where something is to be embedded the engine is checked, unless it was; else the verdict is that
    of the release that stands. Raises `UsageError` for an engine that does not pass.
    """
    embedder = standing.embedder
    if plan.to_embed and embedder.decided and not job.overrides.dry_run:
        return [_checked(job, standing, embedder)]
    return standing_verdict(standing)


def standing_verdict(standing: Standing) -> list[AuditResult]:
    """The standing release's verdict on its engine, where it is still the one in use."""
    if standing.release is None:
        return []
    made_by, here = standing.release.manifest.embedder, standing.embedder
    if (made_by.engine, made_by.precision) != (here.engine, here.precision):
        return []
    return [audit for audit in standing.release.manifest.audits if audit.name == "engine"]


def _checked(job: Job, standing: Standing, embedder: EmbedderRef) -> AuditResult:
    from tasks.embedders.engine_choice import check, speed
    from tasks.embedders.engine_trial import THRESHOLD

    trial, reference = job.runner.run(
        "start_up", check, embedder, job.build_id, _way_on(job, standing)
    )
    times = speed(trial, reference, job.spec.kinds)
    faster = f": {times:.1f}× torch fp32 on this machine" if times else ""
    if not reference:
        faster = ": what other engines are compared with"
    return AuditResult(
        name="engine",
        value=trial.off,
        threshold=THRESHOLD,
        passed=True,
        severity="refuse",
        detail=f"{trial.name}{faster}; 1 − cos to torch fp32 over 64 fixed inputs",
    )


def _way_on(job: Job, standing: Standing) -> str:
    """What to do where the engine cannot be used here."""
    release, spec = standing.release, job.spec.embedder
    if release is not None and (spec.engine, spec.precision) != (
        standing.embedder.engine,
        standing.embedder.precision,
    ):
        return (
            f"write another engine or precision in the spec (such as engine: torch, precision: "
            f"fp32): {release.name} was embedded with these, and with others every row is embedded "
            f"again"
        )
    return "write engine: auto and precision: auto for the fastest that passes"
