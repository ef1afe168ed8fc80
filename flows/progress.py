"""Progress on stderr: a bar per stage with rows, speed, padding and the time left.

Where stderr is no terminal, plain lines: one every few seconds and one when a stage is done. What a
command answers goes to stdout; nothing here ever writes there.

    with bars.stage("embed", total=12_000) as progress: progress.advance(64, tokens=5_760)
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from flows.stage_rate import StageRate, duration

Mode = Literal["auto", "bars", "lines", "quiet"]

LINE_EVERY = 5.0
"""Seconds between two lines of one stage: a log of ten minutes stays readable."""

WORTH_A_LINE = 0.5
"""A stage quicker than this, in seconds, is not worth a line of its own."""


class StageProgress(Protocol):
    """What a stage advances; a `schemas.progress.Progress` whose total may come later."""

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """See `Progress.advance`."""

    def set_total(self, rows: int) -> None:
        """The stage now knows how many there are."""


class StageBars:
    """Shows the stages of one build; safe to advance from several threads.

    `mode` auto means bars on a terminal and lines elsewhere; quiet shows nothing.
    `stream` is stderr unless given.
    """

    def __init__(self, mode: Mode = "auto", stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream, stderr=stream is None, highlight=False)
        if mode == "auto":
            mode = "bars" if self._console.is_terminal else "lines"
        self.mode: Mode = mode
        self._bars: RichProgress | None = None
        self._open = 0
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[StageProgress]:
        """Show one stage while the block runs; yields what the stage advances."""
        if self.mode == "quiet":
            yield _Nobody()
        elif self.mode == "lines":
            lines = _Lines(name, StageRate(total), self.say)
            yield lines
            lines.finish()
        else:
            bars = self._enter()
            try:
                rate = StageRate(total)
                yield _Bar(bars, bars.add_task(name, total=total, rate=rate), rate)
            finally:
                self._leave()

    def say(self, text: str) -> None:
        """A line for the reader, above any bars that are shown; quiet mode drops it."""
        if self.mode == "quiet":
            return
        with self._lock:
            self._console.print(text, markup=False, soft_wrap=True)

    def _enter(self) -> RichProgress:
        with self._lock:
            if self._bars is None:
                self._bars = _bars_on(self._console)
                self._bars.start()
            self._open += 1
            return self._bars

    def _leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0 and self._bars is not None:
                self._bars.stop()
                self._bars = None


class _Nobody:
    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """Say nothing."""

    def set_total(self, rows: int) -> None:
        """Say nothing."""


@dataclass
class _Bar:
    bars: RichProgress
    task: TaskID
    rate: StageRate

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        self.rate.add(rows, tokens, slots, found)
        self.bars.advance(self.task, rows)

    def set_total(self, rows: int) -> None:
        self.rate.total = rows
        self.bars.update(self.task, total=rows)


@dataclass
class _Lines:
    name: str
    rate: StageRate
    say: Callable[[str], None]
    began: float = field(default_factory=lambda: time.monotonic())
    spoken: float = field(default_factory=lambda: time.monotonic())
    lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        self.rate.add(rows, tokens, slots, found)
        with self.lock:
            now = self.rate.last
            quiet = now - max(self.spoken, self.rate.started) < LINE_EVERY
            if quiet or self.rate.rows in (0, self.rate.total):
                return
            self.spoken = now
        self.say(f"{self.name:<9}{' · '.join(self.rate.parts())}")

    def set_total(self, rows: int) -> None:
        self.rate.total = rows

    def finish(self) -> None:
        if self.rate.rows and time.monotonic() - self.began >= WORTH_A_LINE:
            self.say(f"{self.name:<9}{self.rate.summary()}")


class _Speed(ProgressColumn):
    """The time left, or at the end the time it took; the speed; the padding."""

    def render(self, task: Task) -> Text:
        rate: StageRate = task.fields["rate"]
        left = rate.seconds_left
        parts = rate.pace()
        if task.finished:
            parts.insert(0, duration(rate.seconds))
        elif left is not None:
            parts.insert(0, f"{duration(left)} left")
        return Text(" · ".join(parts), style="progress.data.speed")


NARROW = 110
"""Columns of a terminal: below, a long bar would leave no room for what it says."""


def _bars_on(console: Console) -> RichProgress:
    return RichProgress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=10 if console.width < NARROW else 30),
        MofNCompleteColumn(),
        _Speed(table_column=Column(no_wrap=True)),
        console=console,
    )
