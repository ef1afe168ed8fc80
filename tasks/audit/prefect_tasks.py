"""Stage audit as Prefect tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.audit.fit import audit_fit, audit_refit
from tasks.audit.gates import audit_candidate

TASKS = {
    audit_candidate: task(name="audit the candidate", cache_policy=NO_CACHE)(audit_candidate),
    audit_fit: task(name="audit the fit", cache_policy=NO_CACHE)(audit_fit),
    audit_refit: task(name="audit the refit", cache_policy=NO_CACHE)(audit_refit),
}
