"""Stage dedupe as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dedupe.exact import mark_exact

TASKS = {
    mark_exact: task(name="mark exact duplicates", cache_policy=NO_CACHE)(mark_exact),
}
