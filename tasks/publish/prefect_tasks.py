"""Stage publish as Prefect tasks: reconcile, stage, publish. None is retried by Prefect.

What a retry would have to know (is the build on main already?) the functions look up themselves.
"""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.publish.publish import publish
from tasks.publish.stage import stage
from tasks.table.reconcile import reconcile

TASKS = {
    reconcile: task(name="reconcile", cache_policy=NO_CACHE)(reconcile),
    stage: task(name="stage the candidate", cache_policy=NO_CACHE)(stage),
    publish: task(name="publish", cache_policy=NO_CACHE)(publish),
}
