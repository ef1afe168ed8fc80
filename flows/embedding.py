"""The embedding stage of a build: shards to vectors, then the plan without what had no vector."""

from __future__ import annotations

from dataclasses import replace

from flows.job import Job
from flows.outcome import Made
from flows.standing import Held, Standing
from tasks.plan.classify import plan_build
from tasks.plan.rejected import reject_items, rejected_contents
from tasks.plan.shards import cut_shards


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
    from tasks.embed.embed_shard import embed_shard

    plan, state = made.plan, made.state
    assert plan is not None
    assert state is not None
    options = job.table.storage_options
    results = job.runner.map(
        "embed",
        embed_shard,
        [(shard, standing.embedder, job.store, options) for shard in cut_shards(plan)],
        rows=plan.to_embed,
    )
    embedded = made.embedded + sum(result.embedded for result in results)
    made = replace(made, embedded=embedded)
    rejected = rejected_contents(plan, results)
    if not rejected:
        return made
    rejects = job.runner.run("embed", reject_items, state.items, rejected, job.store)
    return plan_rows(
        job, standing, replace(made, item_rejects=rejects), held, tuple(sorted(rejected))
    )
