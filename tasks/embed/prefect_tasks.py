"""Stage embed as Prefect tasks: one run for each shard, tried again when it fails."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from schemas.progress import Counted
from tasks.embed.embed_shard import embed_shard
from tasks.embed.retries import RETRIES, RETRY_SECONDS, may_pass
from tasks.embed.workers import embed_shard_in_worker


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Whether to try again; what the failed try told of its progress is taken back then."""
    if not may_pass(state.result(raise_on_failure=False)):
        return False
    context = TaskRunContext.get()
    progress = context.parameters.get("progress") if context else None
    if isinstance(progress, Counted):
        progress.take_back()
    return True


OPTIONS: dict[str, Any] = {
    "name": "embed shard",
    "task_run_name": "embed shard {shard.index}",
    "retries": RETRIES,
    "retry_delay_seconds": RETRY_SECONDS,
    "retry_condition_fn": _may_pass,
    "cache_policy": NO_CACHE,
}

TASKS = {
    embed_shard: task(**OPTIONS)(embed_shard),
    embed_shard_in_worker: task(**OPTIONS)(embed_shard_in_worker),
}
