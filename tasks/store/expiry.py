"""Expiry of the `workdir`: files that nobody has used for some days go; deleting costs time alone.

A file was used when it was written or found (`Store.find`, reading vectors, and loading an exported
model mark it, once a day at most). While somebody is at work in the `workdir`, whatever the space,
what they may have found since they began stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.store.leases import Lease
from tasks.store.workdir import MARK_EVERY, TEMPORARY

DAY = 86_400.0

CLOCK_SLACK = 3_600.0
"""Seconds by which the clocks of two hosts that share a `workdir` may differ."""

LEASES = "leases"


@dataclass(frozen=True)
class Expired:
    """Files that went, and their bytes."""

    files: int
    freed: int


def expire(root: str | Path, days: float, at_work: list[Lease]) -> Expired:
    """Remove the files not used for `days` days; `at_work`: everybody else's living leases.

    Unfinished files are left to whoever sweeps, and leases to their holders.
    """
    now = time.time()
    before = now - days * DAY if days > 0 else float("inf")
    if at_work:
        began = min(lease.holder.started for lease in at_work)
        before = min(now - max(days, 1.0) * DAY, began - MARK_EVERY - CLOCK_SLACK)
    files = freed = 0
    for path in finished_files(root):
        with suppress(FileNotFoundError):  # of another upkeep in the same workdir
            state = path.stat()
            if state.st_mtime < before:
                path.unlink()
                files, freed = files + 1, freed + state.st_size
    return Expired(files, freed)


def finished_files(root: str | Path) -> Iterator[Path]:
    """Every file of the `workdir` that is whole, but the leases."""
    for path in sorted(Path(root).rglob("*")):
        parts = path.relative_to(root).parts
        unfinished = any(part.startswith(TEMPORARY) for part in parts)
        if path.is_file() and not unfinished and parts[0] != LEASES:
            yield path
