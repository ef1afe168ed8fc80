"""The embedding stage of a build: shards to vectors, then the plan without what had no vector."""

from __future__ import annotations

from dataclasses import replace

from flows.job import Job
from flows.outcome import Made
from flows.standing import Held, Standing
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.plan.classify import plan_build
from tasks.plan.rejected import reject_items, rejected_contents
from tasks.plan.shards import cut_shards

PATIENCE = 60.0
"""Seconds that a shard under way at another builder is waited for: as long as a shard may take
(`tasks/plan/shards.py`). Then it is computed here too: nobody waits for one that is stuck."""


def plan_rows(
    job: Job, standing: Standing, made: Made, held: Held, rejected: tuple[bytes, ...] = ()
) -> Made:
    """Plan the state against the held base; `rejected` contents leave it."""
    assert made.state is not None
    plan = job.runner.run(
        "plan",
        plan_build,
        made.state.items,
        made.state.duplicates,
        held.plan,
        standing.embedder.vector_key,
        job.store,
        job.build_id,
        overwrite=held.overwrite,
        rejected=rejected,
    )
    return replace(made, plan=plan)


def embed_rows(job: Job, standing: Standing, made: Made, held: Held) -> Made:
    """Embed what the plan names; items whose content was rejected leave the plan, counted."""
    plan, state = made.plan, made.state
    assert plan is not None
    assert state is not None
    results = _embed_shards(job, standing.embedder, cut_shards(plan), plan.to_embed)
    embedded = made.embedded + sum(each.embedded for each in results if not each.found)
    made = replace(made, embedded=embedded)
    rejected = rejected_contents(plan, results)
    if not rejected:
        return made
    rejects = job.runner.run("embed", reject_items, state.items, rejected, job.store)
    return plan_rows(
        job, standing, replace(made, item_rejects=rejects), held, tuple(sorted(rejected))
    )


def _embed_shards(
    job: Job, embedder: EmbedderRef, shards: list[Shard], rows: int
) -> list[ShardResult]:
    """Every shard's result: those that another builder is at come last, when it may be done."""
    from tasks.embed.embed_shard import embed_shard

    fixed = (embedder, job.store, job.table.storage_options)
    results = job.runner.map("embed", embed_shard, [(s, *fixed) for s in shards], rows=rows)
    left = [i for i, result in enumerate(results) if result.claimed_by is not None]
    if left:
        builders = sorted({str(results[i].claimed_by) for i in left})
        job.runner.say(f"{len(left)} shards were left to other builders: {', '.join(builders)}")
        calls = [(shards[i], *fixed, PATIENCE) for i in left]
        rows = sum(shards[i].length for i in left)
        again = job.runner.map("embed", embed_shard, calls, rows=rows)
        for i, result in zip(left, again, strict=True):
            results[i] = result
    return results
