"""Stage audit as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.audit.gates import audit_candidate

TASKS = {
    audit_candidate: task(name="audit the candidate", cache_policy=NO_CACHE)(audit_candidate),
}
