"""How many CPU cores this process may use: threads are shared out, never oversubscribed."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container's CPU limit says: microseconds of CPU in each period, or `max`."""

SHARE = "VECMILL_CORES"
"""The environment variable in which a process tells its children how many cores each may use."""


def usable_cores(limit: str = "") -> int:
    """Cores that this process and its children may use, at least 1.

    The processor affinity, the container's limit and `VECMILL_CORES` bound it. `limit` names
    another environment variable that lowers it further, which people set where several processes
    share a machine: `OMP_NUM_THREADS` for what a model computes.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    asked = [wanted(SHARE), wanted(limit)]
    return max(1, min(cores, _quota(), *(number for number in asked if number)))


def wanted(variable: str) -> int | None:
    """The number of cores or threads that an environment variable asks for, if it does."""
    first = os.environ.get(variable, "").split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else None


def _quota() -> int:
    """Whole cores of the container's CPU limit, rounded up; as good as unlimited without one."""
    try:
        quota, _, period = CGROUP_QUOTA.read_text().strip().partition(" ")
    except OSError:  # not Linux, or the older hierarchy
        return 2**31
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return 2**31
    return max(1, -(-int(quota) // int(period)))
