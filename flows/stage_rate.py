"""How far a stage has come and how fast: what bars, lines and the log of a flow run show of it.

    advance(rows, tokens, slots, found) → rows · tokens a second · padding · time left

Rows that were found cost nothing, so they count as done and for no rate; getting ready (loading a
model) counts for none either.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class StageRate:
    """The sums of one stage; safe to add to from several threads. `total` is in rows, if known."""

    total: int | None = None
    rows: int = 0  # done, found ones too
    found: int = 0
    worded: int = 0  # rows that came with their tokens
    tokens: int = 0
    slots: int = 0  # tokens with their padding
    started: float = field(default_factory=lambda: time.monotonic())
    last: float = field(default_factory=lambda: time.monotonic())
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, rows: int, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """What `Progress.advance` was told."""
        now = time.monotonic()
        with self._lock:
            if not self.worked:
                # Neither getting ready nor looking for what is there says how fast the work goes.
                self.started = now if not rows or found else self.started
            self.rows += rows
            self.found += rows if found else 0
            self.worded += rows if tokens else 0
            self.tokens += tokens
            self.slots += slots
            self.last = now

    @property
    def worked(self) -> int:
        """Rows that were done here, not found."""
        return self.rows - self.found

    @property
    def seconds(self) -> float:
        """From the beginning of the work to the last row that was done."""
        return self.last - self.started

    @property
    def padding(self) -> float | None:
        """The share of the model's token slots that held padding; None where there were none."""
        return 1 - self.tokens / self.slots if self.slots else None

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None where nothing is left or known."""
        if not self.total or self.rows >= self.total or not self.worked:
            return None
        return (self.total - self.rows) * self.seconds / self.worked

    @property
    def speed(self) -> str:
        """`36,000 tokens/s`, or `400 rows/s` where rows came without tokens; "" before any."""
        if not self.worked or self.seconds <= 0:
            return ""
        if self.worded == self.worked:
            return f"{self.tokens / self.seconds:,.0f} tokens/s"
        return f"{self.worked / self.seconds:,.0f} rows/s"

    def parts(self) -> list[str]:
        """`1,200 of 12,000 rows`, the speed, the padding and the time left, as far as known."""
        of = f" of {self.total:,}" if self.total else ""
        left = self.seconds_left
        parts = [f"{self.rows:,}{of} rows", *self.pace()]
        return [*parts, f"{duration(left)} left"] if left else parts

    def pace(self) -> list[str]:
        """The speed and the padding, as far as known."""
        padding = "" if self.padding is None else f"{percent(self.padding)} padding"
        return [part for part in (self.speed, padding) if part]

    def summary(self) -> str:
        """`12,000 rows in 27 s, 36,000 tokens/s, 1.8 % padding`."""
        return ", ".join([f"{self.rows:,} rows in {duration(self.seconds)}", *self.pace()])


def percent(share: float) -> str:
    """`1.8 %`."""
    return f"{100 * share:.1f} %"


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
