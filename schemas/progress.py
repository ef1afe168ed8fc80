"""How a stage says how far it has come, without knowing who listens."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """A listener: a bar on stderr, a log line of a flow run, or nobody."""

    def advance(self, rows: int) -> None:
        """`rows` more of the stage's total are done."""


class Silent:
    """Nobody listens."""

    def advance(self, rows: int) -> None:
        """Say nothing."""


SILENT = Silent()


class Counted:
    """A `Progress` that can take back what a call told before it failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows = 0

    def advance(self, rows: int, **more: Any) -> None:
        """Pass it on, and count it."""
        self._rows += rows
        self._progress.advance(rows, **more)

    def take_back(self) -> None:
        """As if the call had told nothing."""
        if self._rows:
            self._progress.advance(-self._rows)
        self._rows = 0
