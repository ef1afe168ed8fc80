"""How many CPU cores an embedder may use: threads are shared out, never oversubscribed."""

from __future__ import annotations

from tasks.processes import cores
from tasks.processes.cores import wanted


def usable_cores() -> int:
    """Cores for one embedder, at least 1: of those that this process may use.

    `OMP_NUM_THREADS`, which people set where several processes share a machine, lowers it further.
    """
    usable = cores.usable_cores()
    return min(usable, wanted("OMP_NUM_THREADS") or usable)
