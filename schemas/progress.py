"""How a stage says how far it has come, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener: a bar on stderr, a log line of a flow run, or nobody."""

    def advance(self, rows: int) -> None:
        """`rows` more of the stage's total are done."""


class Silent:
    """Nobody listens."""

    def advance(self, rows: int) -> None:
        """Say nothing."""


SILENT = Silent()
