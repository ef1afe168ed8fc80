"""Stage dedupe as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dedupe.exact import mark_exact
from tasks.dedupe.semantic import mark_semantic

TASKS = {
    mark_exact: task(name="mark exact duplicates", cache_policy=NO_CACHE)(mark_exact),
    mark_semantic: task(name="mark semantic duplicates", cache_policy=NO_CACHE)(mark_semantic),
}
