"""Stage dedupe as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.dedupe.exact import mark_exact
from tasks.dedupe.lost import lost_records
from tasks.dedupe.near import find_near
from tasks.dedupe.settle_near import settle_near
from tasks.dedupe.vectors.semantic import mark_semantic

TASKS = {
    find_near: task(name="find near-duplicate records", cache_policy=NO_CACHE)(find_near),
    lost_records: task(name="find records without items", cache_policy=NO_CACHE)(lost_records),
    mark_exact: task(name="mark exact duplicates", cache_policy=NO_CACHE)(mark_exact),
    settle_near: task(name="settle near duplicates", cache_policy=NO_CACHE)(settle_near),
    mark_semantic: task(name="mark semantic duplicates", cache_policy=NO_CACHE)(mark_semantic),
}
