"""Stage cluster as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.cluster.describe import describe_build
from tasks.cluster.fit_rows import fit_rows

TASKS = {
    describe_build: task(name="describe clusters", cache_policy=NO_CACHE)(describe_build),
    fit_rows: task(name="fit clusters and map", cache_policy=NO_CACHE)(fit_rows),
}
