"""How a composition calls its stages: plainly in this process, or as Prefect tasks.

A composition never calls a stage function itself; it gives it to a runner together with the name
of its stage. So a build is composed once and run in two ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from flows.progress import StageBars
from schemas.progress import Counted, Progress
from tasks.store.opening import without_credentials

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """A call that failed is tried `times` more, after `seconds`, where `may_pass(error)`."""

    times: int
    seconds: float
    may_pass: Callable[[object], bool]


class Runner(Protocol):
    """Calls stage functions, shows their progress and measures their time."""

    seconds: dict[str, float]
    """Seconds by the clock spent in each stage so far."""

    def run(self, stage: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """One call of a stage's function."""
        ...

    def say(self, text: str) -> None:
        """A line for whoever watches the build; no answer, and silent where they want it so."""
        ...

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
        """One call for each tuple of arguments, with `progress`; results in the order of `calls`.

        `rows` is the stage's total, if known; at most `workers` calls run at a time. With `retry` a
        call that failed is tried again; a function's Prefect task says the same of itself.
        """
        ...


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time spent inside to `seconds[stage]`; an error is told in which stage it arose."""
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        error.add_note(f"in stage {stage}")
        raise
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


class PlainRunner:
    """Calls the functions here, in threads where `workers` allows, with bars on stderr."""

    def __init__(self, bars: StageBars) -> None:
        self.seconds: dict[str, float] = {}
        self._bars = bars

    def say(self, text: str) -> None:
        """See `Runner.say`."""
        self._bars.say(text)

    def run(self, stage: str, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """See `Runner.run`."""
        with timed(self.seconds, stage):
            return function(*args, **options)

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
        """See `Runner.map`. The first error cancels what has not begun."""
        if not calls:
            return []
        with timed(self.seconds, stage), self._bars.stage(stage, rows) as progress:
            once = partial(self._call, retry, function, progress)
            if workers == 1 or len(calls) == 1:
                return [once(call) for call in calls]
            with ThreadPoolExecutor(workers, thread_name_prefix=stage) as pool:
                futures = [pool.submit(once, call) for call in calls]
                try:
                    return [future.result() for future in futures]
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def _call(
        self,
        retry: Retry | None,
        function: Callable[..., T],
        progress: Progress,
        call: tuple[Any, ...],
    ) -> T:
        """One call of `map`; what a failed one told of its progress is taken back."""
        for left in range(retry.times if retry else 0, 0, -1):
            assert retry is not None
            counted = Counted(progress)
            try:
                return function(*call, progress=counted)
            except Exception as error:
                if not retry.may_pass(error):
                    raise
                counted.take_back()
                said = without_credentials(f"{type(error).__name__}: {error}")
                self.say(f"{said}; tried again in {retry.seconds} s ({left} left)")
            time.sleep(retry.seconds)
        return function(*call, progress=progress)
