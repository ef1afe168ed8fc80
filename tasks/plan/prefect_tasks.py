"""Stage plan as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.plan.classify import plan_build
from tasks.plan.input_hash import input_hash
from tasks.plan.rejected import refused_contents, reject_items

TASKS = {
    plan_build: task(name="plan", cache_policy=NO_CACHE)(plan_build),
    input_hash: task(name="hash the input", cache_policy=NO_CACHE)(input_hash),
    refused_contents: task(name="find what is known to fail", cache_policy=NO_CACHE)(
        refused_contents
    ),
    reject_items: task(name="reject items", cache_policy=NO_CACHE)(reject_items),
}
