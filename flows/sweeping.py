"""Sweeping at the start of a build or of maintenance: bury the dead, remove what they left.

bury      dead leases are taken away from their holders, for good
workdir   unfinished files, plans and claims of every dead owner, whatever its space
tables    base tags, candidates and orphans, of this space alone
forget    the buried leases of this space, last: until then the next sweeper goes on
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.store.leases import bury_dead
from tasks.store.sweep import SweptFiles, sweep_workdir
from tasks.table.dataset import TableRef
from tasks.table.sweep import SweptTable, of_table, sweep_table


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    leases: tuple[str, ...]  # whose lease is gone now
    files: SweptFiles
    table: SweptTable

    @property
    def bytes(self) -> int:
        """Sizes of all files removed."""
        return self.files.bytes + self.table.bytes

    def __bool__(self) -> bool:
        table = self.table
        return bool(self.files.files or table.base_tags or table.candidates or table.orphans)

    def __str__(self) -> str:
        counts = {
            "unfinished files": self.files.unfinished,
            "plan files": self.files.plans,
            "claims": self.files.claims,
            "base tags": len(self.table.base_tags),
            "candidates": self.table.candidates,
            "orphaned table files": self.table.orphans,
        }
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"swept what killed builds left: {said} ({self.bytes / 1e6:,.1f} MB)"


def sweep(root: str, table: TableRef, own: str) -> Swept:
    """Remove what dead builds left in the `workdir` at `root` and in the space's tables.

    `own` is the lease that the caller holds there. Cheap where nobody died.
    """
    dead = bury_dead(root)
    files = sweep_workdir(root, {lease.name for lease in dead})
    tables = sweep_table(table, root, dead, own)
    gone = []
    if tables.complete:
        for lease in dead:
            if of_table(lease, table) or lease.name in tables.base_tags:
                lease.path.unlink(missing_ok=True)
                gone.append(lease.name)
    return Swept(tuple(gone), files, tables)
