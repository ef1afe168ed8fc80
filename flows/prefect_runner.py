"""Runs a composition's stages as Prefect tasks: one task run per stage, part or shard.

Only references travel: no result is persisted, no input is hashed, and a finished file in the
`workdir` is the only record of finished work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.callables import get_call_parameters

from flows.runner import Retry, timed
from flows.stage_rate import StageRate
from schemas.progress import Counted
from tasks.audit.prefect_tasks import TASKS as AUDIT
from tasks.chunk.prefect_tasks import TASKS as CHUNK
from tasks.cluster.prefect_tasks import TASKS as CLUSTER
from tasks.dedupe.prefect_tasks import TASKS as DEDUPE
from tasks.embed.prefect_tasks import TASKS as EMBED
from tasks.ingest.prefect_tasks import TASKS as INGEST
from tasks.plan.prefect_tasks import TASKS as PLAN
from tasks.publish.prefect_tasks import TASKS as PUBLISH
from tasks.validate.prefect_tasks import TASKS as VALIDATE

T = TypeVar("T")

TASKS: dict[Callable[..., Any], Any] = (
    INGEST | VALIDATE | CHUNK | DEDUPE | PLAN | EMBED | CLUSTER | AUDIT | PUBLISH
)
"""Stage function → its task; a function without one is called as it is."""

LOG_EVERY = 10.0
"""Seconds between two lines of progress in a run's log."""


class LogProgress:
    """Progress as log lines: rows done, of how many, the speed, the padding and the time left."""

    def __init__(self, stage: str, total: int | None, log: Callable[[str], None]) -> None:
        self._stage, self._rate, self._log = stage, StageRate(total), log
        self._said = self._rate.started
        self._lock = Lock()

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """Count `rows`; say so when the last line is old enough."""
        self._rate.add(rows, tokens, slots, found)
        with self._lock:
            now = self._rate.last
            if now - max(self._said, self._rate.started) < LOG_EVERY or not self._rate.rows:
                return
            self._said = now
        self._log(f"{self._stage}: {', '.join(self._rate.parts())}")

    def finish(self) -> None:
        """Sum up, where it took long enough to be worth a line."""
        if self._rate.rows and self._rate.seconds >= LOG_EVERY:
            self._log(f"{self._stage}: {self._rate.summary()}")


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
        with timed(self.seconds, stage):
            results = self._mapped(function, calls, progress, workers)
        progress.finish()
        return results

    def _mapped(
        self,
        function: Callable[..., T],
        calls: Sequence[tuple[Any, ...]],
        progress: LogProgress,
        workers: int,
    ) -> list[T]:
        task = TASKS[function]
        if workers == 1 or len(calls) <= 1:
            return [task(*call, progress=Counted(progress)) for call in calls]
        with ThreadPoolTaskRunner(max_workers=workers) as pool:
            named = [
                get_call_parameters(function, call, {"progress": Counted(progress)})
                for call in calls
            ]
            futures = [pool.submit(task, parameters) for parameters in named]
            return [future.result() for future in futures]
