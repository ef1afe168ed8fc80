"""Runs a composition's stages as Prefect tasks: one task run per stage, part or shard.

Only references travel: no result is persisted, no input is hashed, and a finished file in the
`workdir` is the only record of finished work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.callables import get_call_parameters

from flows.runner import Retry, timed
from tasks.audit.prefect_tasks import TASKS as AUDIT
from tasks.chunk.prefect_tasks import TASKS as CHUNK
from tasks.dedupe.prefect_tasks import TASKS as DEDUPE
from tasks.embed.prefect_tasks import TASKS as EMBED
from tasks.ingest.prefect_tasks import TASKS as INGEST
from tasks.plan.prefect_tasks import TASKS as PLAN
from tasks.publish.prefect_tasks import TASKS as PUBLISH
from tasks.validate.prefect_tasks import TASKS as VALIDATE

T = TypeVar("T")

TASKS: dict[Callable[..., Any], Any] = (
    INGEST | VALIDATE | CHUNK | DEDUPE | PLAN | EMBED | AUDIT | PUBLISH
)
"""Stage function → its task; a function without one is called as it is."""

LOG_EVERY = 10.0
"""Seconds between two lines of progress in a run's log."""


class LogProgress:
    """Progress as log lines: rows done, of how many, and rows a second."""

    def __init__(self, stage: str, total: int | None, log: Callable[[str], None]) -> None:
        self._stage, self._total, self._log = stage, total, log
        self._done = 0
        self._start = self._last = time.perf_counter()
        self._lock = Lock()

    def advance(self, rows: int) -> None:
        """Count `rows`; say so when the last line is old enough."""
        with self._lock:
            self._done += rows
            now = time.perf_counter()
            if now - self._last < LOG_EVERY:
                return
            self._last = now
            rate = self._done / (now - self._start)
            of, left = "", ""
            if self._total:
                of = f" of {self._total:,}"
                left = f", {(self._total - self._done) / rate:,.0f} s left" if rate else ""
            self._log(f"{self._stage}: {self._done:,}{of} rows, {rate:,.0f} rows/s{left}")


class PrefectRunner:
    """A `Runner` inside a Prefect flow."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """See `Runner.say`."""
        get_run_logger().info(text)

    def run(self, stage: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """See `Runner.run`."""
        with timed(self.seconds, stage):
            return TASKS.get(function, function)(*args, **options)

    def map(
        self,
        stage: str,
        function: Callable[..., T],
        calls: Sequence[tuple[Any, ...]],
        *,
        rows: int | None = None,
        workers: int = 1,
        retry: Retry | None = None,
    ) -> list[T]:
        """See `Runner.map`: in a pool of `workers` threads, so that none waits for the slowest.

        The first error, in the order of `calls`, ends the stage; what has not begun is cancelled.
        """
        progress = LogProgress(stage, rows, get_run_logger().info)
        task = TASKS[function]
        with timed(self.seconds, stage):
            if workers == 1 or len(calls) <= 1:
                return [task(*call, progress=progress) for call in calls]
            with ThreadPoolTaskRunner(max_workers=workers) as pool:
                named = [get_call_parameters(function, c, {"progress": progress}) for c in calls]
                futures = [pool.submit(task, parameters) for parameters in named]
                return [future.result() for future in futures]
