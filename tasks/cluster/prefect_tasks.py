"""Stage cluster as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.cluster.fit_rows import fit_rows

TASKS = {
    fit_rows: task(name="fit clusters and map", cache_policy=NO_CACHE)(fit_rows),
}
