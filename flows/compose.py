"""The build, composed once: from a spec to a published release, or to a refusal that left no trace.

    standing   reconcile; the release and hold that stand
    gather     survey → ingest → validate → chunk → dedupe
    plan       against the base version, by id and hashes
    embed      contents that have no vector
    judge      the fit, semantic duplicates; planned again where that changes a verdict
    stage      one uncommitted transaction, readable as a candidate
    describe   what its clusters are about
    audit      gates on the candidate
    publish    the same transaction on main, tags, report      (or: discard, record, report)

Of two builds from one base one wins; the other plans again here and keeps its vectors.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from flows.describing import described
from flows.embedding import embed_rows, plan_rows
from flows.engines import check_engine, settle_engine
from flows.gather import gather
from flows.guards import embedding_verdicts, needs_build, needs_yes, shrink_verdicts
from flows.job import Job, open_job
from flows.judging import check_fit, judge_rows, standing_fit_id
from flows.outcome import PUBLISHED, REFUSED, WRONG, Made, Outcome, draft, finished, retry_in_words
from flows.progress import StageBars
from flows.recording import embedding_rate, record_build, record_inputs, write_build_report
from flows.runner import PlainRunner, Runner, timed
from flows.stage_rate import duration
from flows.standing import Held, Standing, find_standing, hold_base, wanted_schema
from flows.waivers import waive_gates, waive_records
from schemas.errors import SourceError, VecmillError
from schemas.manifest import AuditResult, Counts, Manifest
from schemas.refs import PlanRef
from schemas.spec import BuildOverrides, SpaceSpec
from tasks.audit.fit import audit_fit, audit_refit
from tasks.audit.gates import Expected, audit_candidate
from tasks.geometry.fit import Fit
from tasks.plan.input_hash import input_hash
from tasks.publish.publish import publish
from tasks.publish.stage import Candidate, discard, stage
from tasks.table.clusters import append_clusters, drop_clusters
from tasks.table.companions import append_build, append_rejects, current_hold, drop_rejects
from tasks.table.fits import append_fit
from tasks.table.releases import Release
from tasks.table.transaction import ConflictError, is_committed

ATTEMPTS = 20
"""Builds that may win against this one before it gives up; each of them was a release."""


def build_space(
    spec: SpaceSpec,
    overrides: BuildOverrides | None = None,
    runner: Runner | None = None,
    build_id: str | None = None,
    begun: float | None = None,
) -> Outcome:
    """Bring the space up to date and publish it.

    `begun` is `time.perf_counter()` when the command began, where its imports are to count as start
    up. Returns the outcome of a build that published, had nothing to do, was a dry run, or was
    refused. Raises `UsageError` for what no build of this spec could do, other `VecmillError` for
    what went wrong; nothing is published then.
    """
    runner = runner or PlainRunner(StageBars())
    with open_job(spec, overrides or BuildOverrides(), runner, build_id, begun) as job:
        embedded = 0
        for _ in range(ATTEMPTS):
            outcome = _attempt(job, embedded)
            if isinstance(outcome, Outcome):
                return outcome
            embedded = outcome
    raise VecmillError(
        f"space {spec.space!r}: {ATTEMPTS} other builds published before this one could; "
        "nothing was published; see what builds it so often, and run again"
    )


def _attempt(job: Job, embedded: int) -> Outcome | int:
    """The outcome; or, where another build was first, how many contents are embedded by now."""
    standing = find_standing(job)
    check_fit(job, standing.release)
    made = Made(embedded=embedded)
    try:
        state = gather(job, standing, waive_records(job, standing))
    except SourceError as error:
        if standing.release is None:
            raise
        return _refused(job, standing, made, (f"source:{error.source}",), str(error))

    made = replace(made, state=state)
    if made.refusing:
        return _refused_by_gates(job, standing, _hashed(job, standing, made))

    standing = settle_engine(job, standing, state)
    schema = wanted_schema(job, standing, state.columns)
    with hold_base(job, standing, schema) as held:
        if held.ahead and standing.hold is None:
            return embedded  # another build published since we looked
        made = plan_rows(job, standing, made, held)
        made = replace(made, verdicts=tuple(shrink_verdicts(job.spec, state, standing)))
        if made.refusing:
            made = waive_gates(job, _hashed(job, standing, made))
        if made.refusing:
            return _refused_by_gates(job, standing, made)
        if not job.overrides.yes and (why := needs_yes(made)):
            return _refused(job, standing, _hashed(job, standing, made), ("yes",), why)
        if job.overrides.refit and (why := needs_build(made)):
            return _refused(job, standing, _hashed(job, standing, made), ("changes",), why)
        if job.overrides.dry_run:
            return _planned(job, standing, made)
        job.runner.say(_plan_in_words(job, made.plan))
        assert made.plan is not None
        verdicts = check_engine(job, standing, made.plan)
        made = replace(made, verdicts=(*made.verdicts, *verdicts))
        made = _judged_items(job, standing, embed_rows(job, standing, made, held))
        if made.refusing:
            return _refused_by_gates(job, standing, made)
        made = judge_rows(job, standing, made, held)
        if not made.changes and not held.ahead:
            return _unchanged(job, standing, made)
        if not made.changes:
            return _held(job, standing, made)
        try:
            return _stage_and_publish(job, standing, made, held, schema)
        except ConflictError:
            return made.embedded


def _judged_items(job: Job, standing: Standing, made: Made) -> Made:
    """`made` with its verdicts on items that could not be embedded, less what was accepted."""
    made = _hashed(job, standing, made)
    lost = embedding_verdicts(job.spec, made)
    return waive_gates(job, replace(made, verdicts=(*made.verdicts, *lost)))


def _hashed(job: Job, standing: Standing, made: Made) -> Made:
    state = made.state
    assert state is not None
    fingerprint = standing.embedder.fingerprint
    hashed = job.runner.run(
        "plan",
        input_hash,
        (*state.parts, *state.kept),
        state.items,
        made.rejects,
        job.spec,
        fingerprint,
    )
    return replace(made, input_hash=hashed)


def _stage_and_publish(
    job: Job, standing: Standing, made: Made, held: Held, schema: pa.Schema
) -> Outcome:
    """Stage, audit, and then commit or discard: a candidate never outlives this function."""
    run = job.runner.run
    candidate: Candidate = run(
        "stage", stage, held.tagged, made.plan, standing.embedder, job.store, schema, made.fit
    )
    committed = False
    try:
        made = described(job, standing, made, candidate.version)
        verdicts = _audit(job, standing, candidate, draft(job, standing, made), made.fit)
        made = replace(made, candidate=candidate.version, verdicts=(*made.verdicts, *verdicts))
        made = waive_gates(job, made)
        if made.refusing:
            return _refused_by_gates(job, standing, made)
        if current_hold(job.table) != standing.hold:
            # set by hand, by a rollback that moved what stands, or released: look again
            raise ConflictError(f"space {job.spec.space!r}: its hold changed during the build")
        if standing.hold is not None:
            return _held(job, standing, made)
        manifest = draft(job, standing, made)
        release = _commit(job, candidate, manifest, made)
        committed = True
    finally:
        if not committed:
            with timed(job.runner.seconds, "publish"):
                discard(candidate)
    manifest = finished(
        job, manifest, release=release.name, version=release.version, published=True
    )
    run("publish", append_build, job.table, manifest)
    report = write_build_report(job, manifest, made.rejects, release.version, made.clusters)
    counts = manifest.counts
    message = (
        f"published {release.name} of {job.spec.space!r}: {counts.rows:,} rows "
        f"({counts.new:,} new, {counts.changed:,} changed, {counts.removed:,} removed"
        f"{_rewritten_in_words(counts)}), "
        f"{counts.embedded:,} contents embedded{made.cost}, "
        f"tag {job.spec.publish.tag!r}{retry_in_words(made)}"
    )
    return Outcome(manifest, PUBLISHED, message, report)


def _rewritten_in_words(counts: Counts) -> str:
    """What was written again though its content stayed; "" for nothing."""
    kinds = {"other columns": counts.metadata_only, "rejudged": counts.rejudged}
    return "".join(f", {n:,} {name}" for name, n in kinds.items() if n)


def _commit(job: Job, candidate: Candidate, manifest: Manifest, made: Made) -> Release:
    """Record fit and rejects and publish: a build that is killed after its commit has lost none."""
    run = job.runner.run
    if made.fit is not None and made.new_fit:
        run("publish", append_fit, job.table, made.fit)
    run("publish", append_rejects, job.table, job.build_id, made.rejects, job.overrides.retried)
    run("publish", append_clusters, job.table, job.build_id, made.clusters)
    try:
        return job.runner.run("publish", publish, candidate, manifest, job.check_lease)
    except BaseException as error:
        with timed(job.runner.seconds, "publish"):
            _take_back_rejects(job, candidate, error)
        raise


def _take_back_rejects(job: Job, candidate: Candidate, error: BaseException) -> None:
    """Drop what a build that failed to publish wrote beside; on a full disk that fails, too."""
    if is_committed(candidate.staged):
        return
    try:
        drop_rejects(job.table, job.build_id)
        drop_clusters(job.table, job.build_id)
    except OSError as left:
        error.add_note(
            f"its rejects stay in {job.table.companion('rejects').path}, or its clusters beside "
            f"them, of no build: {left}"
        )


def _audit(
    job: Job, standing: Standing, candidate: Candidate, expected: Manifest, fit: Fit | None
) -> list[AuditResult]:
    verdicts = job.runner.run(
        "audit",
        audit_candidate,
        job.table,
        candidate.version,
        candidate.data_files,
        Expected(expected.counts, standing.embedder.dimensions, standing.embedder.normalize),
        job.spec.audit.quality,
    )
    if fit is not None:
        verdicts += job.runner.run("audit", audit_fit, job.table, candidate.version, fit)
    if job.overrides.refit:
        versions = (candidate.base.version, candidate.version)
        verdicts.append(job.runner.run("audit", audit_refit, job.table, *versions))
    return verdicts


def _planned(job: Job, standing: Standing, made: Made) -> Outcome:
    """The outcome of a dry run: what a build would do, and about how long embedding takes."""
    assert made.plan is not None
    made = _judged_items(job, standing, made)  # of those that are known to fail
    if made.refusing:
        return _refused_by_gates(job, standing, made)
    if standing.hold is not None and made.changes:
        return _held(job, standing, made)
    made = replace(made, fit_id=standing_fit_id(job, standing.release))
    still = "" if standing.embedder.decided else "; the engine is still to be chosen, by measuring"
    if job.spec.dedupe.semantic is not None and made.changes:
        still += "; semantic duplicates are judged when every row has its vector"
    message = f"{_plan_in_words(job, made.plan)}{still}. Nothing was written"
    return Outcome(finished(job, draft(job, standing, made)), PUBLISHED, message)


def _plan_in_words(job: Job, plan: PlanRef | None) -> str:
    assert plan is not None
    rate = embedding_rate(job)
    about = ""
    if rate and plan.to_embed:
        about = f", about {duration(plan.to_embed / rate)} at the last builds' rate"
    classes = ", ".join(f"{n:,} {name.replace('_', '-')}" for name, n in plan.classes.items())
    rewrite = "; columns or clusters change: every row is rewritten" if plan.overwrite else ""
    return (
        f"plan for {job.spec.space!r}: {classes}; {plan.to_embed:,} contents to embed{about}"
        f"{rewrite}"
    )


def _unchanged(job: Job, standing: Standing, made: Made) -> Outcome:
    """Nothing to publish: the standing release is named, held or not."""
    manifest, release = draft(job, standing, made), standing.release
    if release is None:
        message = f"space {job.spec.space!r} has no rows and no release: nothing to publish"
        return Outcome(finished(job, manifest), PUBLISHED, message)
    manifest = finished(job, manifest, release=release.name, version=release.version)
    wrote = record_inputs(job, manifest, made.rejects, made.tried)
    what = "its rejects were recorded, no row changed" if wrote else "nothing was written"
    message = (
        f"{job.spec.space!r} is up to date: {release.name} stands, {what}{retry_in_words(made)}"
    )
    return Outcome(manifest, PUBLISHED, message)


def _held(job: Job, standing: Standing, made: Made) -> Outcome:
    hold = standing.hold
    assert hold is not None
    why = (
        f"the space is held: {hold.reason} ({hold.who}, {hold.at:%Y-%m-%d %H:%M}); when the hold "
        "is released (`vecmill release-hold`), build again"
    )
    return _refused(job, standing, made, ("hold",), why)


def _refused_by_gates(job: Job, standing: Standing, made: Made) -> Outcome:
    refusing = made.refusing
    why = "; ".join(f"{audit.name}: {audit.detail}" for audit in refusing)
    if len(refusing) == 1:
        why = refusing[0].detail  # its name stands before it already
    return _refused(job, standing, made, tuple(audit.name for audit in refusing), why)


def _refused(job: Job, standing: Standing, made: Made, names: tuple[str, ...], why: str) -> Outcome:
    """Record the refusal and write its report, while the candidate can still be looked at.

    A dry run says that a build would be refused, and records nothing.
    """
    manifest = finished(job, draft(job, standing, made), refused_by=names)
    # DESIGN: without a release to protect, these two are a wrong request rather than a refusal
    code = WRONG if standing.release is None and names in (("hold",), ("yes",)) else REFUSED
    stands = f"{standing.release.name} stands" if standing.release else "there is no release yet"
    if job.overrides.dry_run:
        plan = f"{_plan_in_words(job, made.plan)}. " if made.plan else ""
        message = f"{plan}A build would be refused by {', '.join(names)}: {why}. "
        return Outcome(manifest, code, f"{message}Nothing was written; {stands}")
    record_build(job, manifest, made.rejects)
    report = write_build_report(job, manifest, made.rejects, made.candidate, made.clusters)
    message = f"refused by {', '.join(names)}: {why}. Nothing was published; {stands}"
    return Outcome(manifest, code, message, report)
