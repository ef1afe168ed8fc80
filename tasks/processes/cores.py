"""How many CPU cores this process may use: threads are shared out, never oversubscribed."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container's CPU limit says: microseconds of CPU in each period, or `max`."""


def usable_cores(limit: str = "") -> int:
    """Cores that this process may use, at least 1: its affinity and the container's limit.

    `limit` names an environment variable that lowers it further, which people set where several
    processes share a machine: `OMP_NUM_THREADS` for what a model computes.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    wanted = os.environ.get(limit, "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        cores = min(cores, int(wanted))
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """Whole cores of the container's CPU limit, rounded up; as good as unlimited without one."""
    try:
        quota, _, period = CGROUP_QUOTA.read_text().strip().partition(" ")
    except OSError:  # not Linux, or the older hierarchy
        return 2**31
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return 2**31
    return max(1, -(-int(quota) // int(period)))
