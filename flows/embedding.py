"""The embedding stage of a build: shards to vectors, then the plan without what had no vector."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from flows.embedding_cost import account
from flows.gather import mark_records
from flows.job import Job
from flows.outcome import Made
from flows.runner import Retry
from flows.standing import Held, Standing
from schemas.refs import EmbedderRef, PlanRef, Shard, ShardResult
from tasks.dedupe.lost import lost_records
from tasks.dedupe.settle_near import settle_near
from tasks.embed.retries import RETRIES, RETRY_SECONDS, may_pass
from tasks.embedders.pace import is_quick
from tasks.plan.classify import plan_build
from tasks.plan.rejected import refused_contents, reject_items, rejected_contents
from tasks.plan.shards import cut_shards
from tasks.processes.pool import ProcessPool
from tasks.table.companions import tally_retry

PATIENCE = 60.0
"""Seconds that a shard under way at another builder is waited for: as long as a shard may take
(`tasks/plan/shards.py`). Then it is computed here too: nobody waits for one that is stuck."""


def plan_rows(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """Plan the state against the held base; contents that are known to fail leave it at once."""
    made = plan_state(job, standing, made, held)
    assert made.plan is not None
    known = job.runner.run(
        "plan",
        refused_contents,
        made.plan,
        standing.embedder.vector_key,
        job.overrides.retried,
        job.store,
    )
    return plan_state(job, standing, _without(job, made, known), held) if known else made


def _without(job: Job, made: Made, contents: dict[bytes, dict]) -> Made:
    """`made` less `contents` that have no vector: what resembles a record of them alone, and was
    to point to it, is judged again.
    """
    unusable = {**made.unusable, **contents}
    state = made.state
    assert state is not None
    if job.spec.dedupe.near is not None:
        lost = job.runner.run("dedupe", lost_records, state.parts, state.items, unusable, job.store)
        if lost.records:
            out = [(*refs, lost) for refs in state.excluded]
            marked, _ = mark_records(job, state.parts, state.items, out, state.kept)
            state = replace(state, duplicates=marked)
    return replace(made, unusable=unusable, state=state)


def plan_state(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """The plan without unusable contents, whose items are counted as rejects.

    Until the rows are `judged` by their vectors it is provisional, where the spec asks for that.
    """
    state, rejected = made.state, made.unusable
    assert state is not None
    if rejected:
        rejects = job.runner.run("embed", reject_items, state.items, rejected, job.store)
        made = replace(made, item_rejects=rejects)
    duplicates, dedupe = state.duplicates, job.spec.dedupe
    if dedupe.near is not None and dedupe.semantic is None:
        out = tuple(sorted(rejected))
        duplicates = job.runner.run(
            "dedupe", settle_near, state.items, duplicates, dedupe, job.store, out
        )
    plan = job.runner.run(
        "plan",
        plan_build,
        state.items,
        duplicates,
        held.plan,
        standing.embedder.vector_key,
        job.store,
        job.build_id,
        overwrite=held.overwrite,
        provisional=job.spec.dedupe.semantic is not None and not made.judged,
        rejected=tuple(sorted(rejected)),
    )
    return replace(made, plan=plan)


def embed_rows(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """Embed what the plan names; items whose content was rejected leave the plan, counted."""
    plan = made.plan
    assert plan is not None
    results = _embed_shards(job, standing.embedder, _shards(standing.embedder, plan), plan.to_embed)
    embedded = made.embedded + sum(each.embedded for each in results if not each.found)
    made = replace(made, embedded=embedded, cost=account(job.runner.seconds, results))
    rejected = rejected_contents(plan, results)
    if rejected:
        made = plan_state(job, standing, _without(job, made, rejected), held)
    if job.overrides.retry:
        tried = job.runner.run("embed", tally_retry, job.table, made.rejects, job.overrides.retried)
        made = replace(made, tried=tried)
    return made


def _shards(embedder: EmbedderRef, plan: PlanRef) -> list[Shard]:
    """The shards, of a size that suits the embedder; nothing is asked of it where there is none."""
    if not plan.to_embed:
        return []
    return cut_shards(plan, quick=is_quick(embedder), dimensions=embedder.dimensions)


def _embed_shards(
    job: Job, embedder: EmbedderRef, shards: list[Shard], rows: int
) -> list[ShardResult]:
    """Every shard's result: those that another builder is at come last, when it may be done."""
    from tasks.embed.workers import shards_at_a_time, worker_processes

    if shards:
        name = f"{embedder.model} ({embedder.engine}, {embedder.precision})"
        job.runner.say(f"loading {name} …")
    most = job.overrides.max_workers or job.spec.compute.max_workers
    with worker_processes(embedder, len(shards), most, job.runner.say) as workers:
        fixed = (embedder, job.store, job.table.storage_options, job.overrides.retry)
        at_a_time = len(workers) if workers else shards_at_a_time(embedder.engine, most)
        embed = partial(_embed_each, job, workers, at_a_time)
        results = embed([(s, *fixed) for s in shards], rows)
        left = [i for i, result in enumerate(results) if result.claimed_by is not None]
        if left:
            builders = sorted({str(results[i].claimed_by) for i in left})
            job.runner.say(f"{len(left)} shards were left to other builders: {', '.join(builders)}")
            calls = [(shards[i], *fixed, PATIENCE) for i in left]
            rows = sum(shards[i].length for i in left)
            again = embed(calls, rows)
            for i, result in zip(left, again, strict=True):
                results[i] = result
    return results


def _embed_each(
    job: Job, workers: ProcessPool | None, at_a_time: int, calls: list[tuple], rows: int
) -> list[ShardResult]:
    """One shard for each of `calls`, in the worker processes or, without any, here."""
    from tasks.embed.embed_shard import embed_shard
    from tasks.embed.workers import embed_shard_in_worker

    embed = embed_shard if workers is None else embed_shard_in_worker
    calls = calls if workers is None else [(workers, *call) for call in calls]
    retry = Retry(RETRIES, RETRY_SECONDS, may_pass)
    return job.runner.map("embed", embed, calls, rows=rows, workers=at_a_time, retry=retry)
