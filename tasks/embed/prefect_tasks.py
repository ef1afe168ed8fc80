"""Stage embed as Prefect tasks: one run for each shard, tried again when it fails."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.embed.embed_shard import embed_shard

RETRIES = 2
"""A shard is idempotent: its vectors are found by content, whoever wrote them."""

TASKS = {
    embed_shard: task(
        name="embed shard",
        task_run_name="embed shard {shard.index}",
        retries=RETRIES,
        retry_delay_seconds=5,
        cache_policy=NO_CACHE,
    )(embed_shard),
}
