"""How a stage says how far it has come, without knowing who listens."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """A listener: a bar on stderr, a log line of a flow run, or nobody."""

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """`rows` more of the stage's total are done.

        `tokens` of theirs went through the model, in `slots` with their padding. `found`: the rows
        cost nothing, since they were done before. `advance(0)` before anything is done says that
        the work begins now: what it took to get ready counts for no rate.
        """


class Silent:
    """Nobody listens."""

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        """Say nothing."""


SILENT = Silent()


class Counted:
    """A `Progress` that can take back what a call told before it failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: list[tuple[int, dict[str, Any]]] = []

    def advance(self, rows: int, **more: Any) -> None:
        """Pass it on, and remember it."""
        self._told.append((rows, more))
        self._progress.advance(rows, **more)

    def take_back(self) -> None:
        """As if the call had told nothing: the same numbers, negative."""
        for rows, more in self._told:
            less: dict[str, Any] = {
                name: value if isinstance(value, bool) else -value for name, value in more.items()
            }
            self._progress.advance(-rows, **less)
        self._told.clear()
