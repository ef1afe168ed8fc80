"""A change of one percent, and files that are whole whenever they exist."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Change:
    """How many records a change edits, adds and removes."""

    edited: int
    added: int
    removed: int

    @property
    def total(self) -> int:
        """Records touched."""
        return self.edited + self.added + self.removed


def shares_of_one_percent(records: int) -> Change:
    """One percent of `records` (at least 3) as edits, additions and removals."""
    touched = max(3, records // 100)
    removed, added = touched // 3, touched // 3
    return Change(edited=touched - added - removed, added=added, removed=removed)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` elsewhere and rename it: never half a file, and no build sees the half."""
    part = path.parent.parent / f".{path.name}.{os.getpid()}.part"
    part.write_bytes(data)
    part.replace(path)
