"""Stage validate as Prefect tasks: one run for each part, one for the state."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.validate.rows import validate_part
from tasks.validate.state import validate_state

TASKS = {
    validate_part: task(
        name="validate part",
        task_run_name="validate {part.source} {part.digest}",
        cache_policy=NO_CACHE,
    )(validate_part),
    validate_state: task(name="validate state", cache_policy=NO_CACHE)(validate_state),
}
