"""Stage chunk as Prefect tasks: one run for each part."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.chunk.chunk_part import chunk_part

TASKS = {
    chunk_part: task(
        name="chunk part", task_run_name="chunk {part.source} {part.digest}", cache_policy=NO_CACHE
    )(chunk_part),
}
