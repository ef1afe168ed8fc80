"""Stage ingest as Prefect tasks: the survey once, one run for each part."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.ingest.read_part import read_part
from tasks.ingest.repeats import find_repeats
from tasks.ingest.retry_part import retry_part
from tasks.ingest.survey import survey

TASKS = {
    survey: task(name="list sources", cache_policy=NO_CACHE)(survey),
    read_part: task(
        name="read part",
        task_run_name="read {part.source.name} {part.digest}",
        cache_policy=NO_CACHE,
    )(read_part),
    retry_part: task(
        name="retry part",
        task_run_name="retry {part.source.name} {part.digest}",
        cache_policy=NO_CACHE,
    )(retry_part),
    find_repeats: task(name="find repeated keys", cache_policy=NO_CACHE)(find_repeats),
}
