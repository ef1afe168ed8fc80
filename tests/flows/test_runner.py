"""How the plain runner calls: in order, in threads, and again where a failure may pass."""

from __future__ import annotations

import pytest

from flows.progress import StageBars
from flows.runner import PlainRunner, Retry
from schemas.errors import VecmillError
from schemas.progress import SILENT, Progress
from tasks.embed.retries import may_pass

RETRY = Retry(times=2, seconds=0, may_pass=may_pass)


class Flaky:
    """Fails so many times at each call, having told of one row."""

    def __init__(self, failures: int, error: type[BaseException] = OSError) -> None:
        self.failures, self.error = failures, error
        self.tries: dict[int, int] = {}

    def __call__(self, number: int, progress: Progress = SILENT) -> int:
        self.tries[number] = self.tries.get(number, 0) + 1
        progress.advance(1)
        if self.tries[number] <= self.failures:
            raise self.error(f"call {number} failed")
        progress.advance(1)
        return number * 10


class Bars(StageBars):
    """Keeps what is said and how many rows were told."""

    def __init__(self) -> None:
        super().__init__("quiet")
        self.said: list[str] = []
        self.rows = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def stage(self, name, total=None):
        from contextlib import nullcontext

        return nullcontext(self)

    def advance(self, rows: int) -> None:
        self.rows += rows


@pytest.mark.parametrize("workers", [1, 3])
def test_a_call_that_fails_for_a_while_is_tried_again(workers: int) -> None:
    bars, flaky = Bars(), Flaky(failures=2)

    results = PlainRunner(bars).map(
        "embed", flaky, [(1,), (2,), (3,)], workers=workers, retry=RETRY
    )

    assert results == [10, 20, 30]
    assert flaky.tries == {1: 3, 2: 3, 3: 3}
    assert bars.rows == 6  # two for each call, whatever failed before
    assert sorted(bars.said)[:2] == [
        "OSError: call 1 failed; tried again in 0 s (1 left)",
        "OSError: call 1 failed; tried again in 0 s (2 left)",
    ]


def test_a_call_that_goes_on_failing_is_given_up() -> None:
    flaky = Flaky(failures=9)
    with pytest.raises(OSError, match="call 1 failed") as failure:
        PlainRunner(Bars()).map("embed", flaky, [(1,), (2,)], retry=RETRY)

    assert flaky.tries == {1: 3}
    assert failure.value.__notes__ == ["in stage embed"]


@pytest.mark.parametrize("error", [VecmillError, KeyboardInterrupt])
def test_what_will_not_pass_is_not_tried_again(error: type[BaseException]) -> None:
    flaky = Flaky(failures=1, error=error)
    with pytest.raises(error, match="call 1 failed"):
        PlainRunner(Bars()).map("embed", flaky, [(1,)], retry=RETRY)

    assert flaky.tries == {1: 1}


def test_without_a_retry_the_first_failure_counts() -> None:
    flaky = Flaky(failures=1)
    with pytest.raises(OSError, match="call 1 failed"):
        PlainRunner(Bars()).map("ingest", flaky, [(1,)])

    assert flaky.tries == {1: 1}
