"""Progress on stderr: a bar per stage with rows, rows a second and the time left.

Where stderr is no terminal, plain lines: one every few seconds and one when a stage is done. What a
command answers goes to stdout; nothing here ever writes there.

    with bars.stage("embed", total=12_000) as progress: progress.advance(64)
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
from rich.text import Text

Mode = Literal["auto", "bars", "lines", "quiet"]

LINE_EVERY = 5.0
"""Seconds between two lines of one stage: a log of ten minutes stays readable."""

WORTH_A_LINE = 0.5
"""A stage quicker than this, in seconds, is not worth a line of its own."""


class StageProgress(Protocol):
    """What a stage advances; a `schemas.progress.Progress` whose total may come later."""

    def advance(self, rows: int) -> None:
        """`rows` more are done."""

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
            lines = _Lines(name, total, self.say)
            yield lines
            lines.finish()
        else:
            bars = self._enter()
            try:
                yield _Bar(bars, bars.add_task(name, total=total))
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
    def advance(self, rows: int) -> None:
        """Say nothing."""

    def set_total(self, rows: int) -> None:
        """Say nothing."""


@dataclass
class _Bar:
    bars: RichProgress
    task: TaskID

    def advance(self, rows: int) -> None:
        self.bars.advance(self.task, rows)

    def set_total(self, rows: int) -> None:
        self.bars.update(self.task, total=rows)


@dataclass
class _Lines:
    name: str
    total: int | None
    say: Callable[[str], None]
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    spoken: float = field(default_factory=lambda: time.monotonic())
    lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, rows: int) -> None:
        with self.lock:
            self.done += rows
            now = time.monotonic()
            if now - self.spoken < LINE_EVERY or not self.done or self.done == self.total:
                return
            self.spoken = now
            line = progress_line(self.name, self.done, self.total, now - self.started)
        self.say(line)

    def set_total(self, rows: int) -> None:
        self.total = rows

    def finish(self) -> None:
        seconds = time.monotonic() - self.started
        if self.done and seconds >= WORTH_A_LINE:
            rate = self.done / seconds
            self.say(f"{self.name:<9}{self.done:,} rows in {duration(seconds)}, {rate:,.0f}/s")


def progress_line(name: str, done: int, total: int | None, seconds: float) -> str:
    """`embed    1,200 of 12,000 rows · 400 rows/s · 27 s left`."""
    rate = done / seconds if seconds > 0 else 0.0
    of = f" of {total:,}" if total else ""
    line = f"{name:<9}{done:,}{of} rows · {rate:,.0f} rows/s"
    if total and rate and total > done:
        line += f" · {duration((total - done) / rate)} left"
    return line


def duration(seconds: float) -> str:
    """`27 s`, `3 min 05 s`, `1 h 12 min`."""
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class _Speed(ProgressColumn):
    """Rows a second, and the time left once the total is known."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        text = f"{speed:,.0f} rows/s"
        if task.finished:
            text += f" · {duration(task.finished_time or 0.0)}"
        elif task.time_remaining is not None:
            text += f" · {duration(task.time_remaining)} left"
        return Text(text, style="progress.data.speed")


def _bars_on(console: Console) -> RichProgress:
    return RichProgress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Speed(),
        console=console,
        speed_estimate_period=20,
    )
