"""Stage embed as Prefect tasks: one run for each shard, tried again when it fails."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.errors import VecmillError
from tasks.embed.embed_shard import embed_shard

RETRIES = 2
"""A shard is idempotent: its vectors are found by content, whoever wrote them."""


def may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure may be gone on the next try; what vecmill itself refuses will not be."""
    failure = state.result(raise_on_failure=False)
    return not isinstance(failure, VecmillError)


TASKS = {
    embed_shard: task(
        name="embed shard",
        task_run_name="embed shard {shard.index}",
        retries=RETRIES,
        retry_delay_seconds=5,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,
    )(embed_shard),
}
