"""Sweep a `workdir`: what the dead left behind half-done goes, what is finished stays.

    unfinished files    `.tmp-<owner>-…` in every folder; also folders, with what is in them
    plans               `plans/<build id>*`: of no use to any other build
    claims              `claims/*`: shards that somebody was at

An owner is dead when its lease is buried (`bury_dead`); one without any lease is taken for dead
after a day. Each removal may be done twice, so sweepers need not know of each other, and what one
that is killed leaves over the next one finishes.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.store.claims import CLAIMS, claim_owner
from tasks.store.leases import file_clock, read_leases
from tasks.store.workdir import TEMPORARY

UNOWNED_KEPT = 86_400.0
"""Seconds that a file is kept whose owner has no lease, living or dead: a day is longer than any
file is written, and such files are rare (a lease deleted by hand)."""

PLANS = "plans"


@dataclass(frozen=True)
class SweptFiles:
    """What was removed from a `workdir`. `bytes` counts the files' sizes."""

    unfinished: int = 0
    plans: int = 0
    claims: int = 0
    bytes: int = 0

    @property
    def files(self) -> int:
        """Files of any kind."""
        return self.unfinished + self.plans + self.claims


def sweep_workdir(root: str | Path, dead: Collection[str]) -> SweptFiles:
    """Remove the files of the `dead` (lease names), and of unknown owners after a day."""
    if not Path(root).is_dir():
        return SweptFiles()
    known = {lease.name for lease in read_leases(root)}
    now = file_clock(root)
    counts = {"unfinished": 0, "plans": 0, "claims": 0, "bytes": 0}
    for kind, path, owned_by in _owned(Path(root)):
        try:
            status = path.stat()
            orphaned = not any(map(owned_by, known)) and now - status.st_mtime > UNOWNED_KEPT
            if orphaned or any(map(owned_by, dead)):
                counts["bytes"] += _removed(path, status)
                counts[kind] += 1
        except FileNotFoundError:
            continue  # finished or swept meanwhile
    return SweptFiles(**counts)


def _removed(path: Path, status: os.stat_result) -> int:
    """Remove a file, or a folder with all its files; returns their bytes."""
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return status.st_size
    size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    shutil.rmtree(path)
    return size


def _owned(root: Path) -> Iterator[tuple[str, Path, Callable[[str], bool]]]:
    """(kind, path, whether it is that owner's) of what somebody has under way."""
    for folder, folders, files in os.walk(root):
        unfinished = [name for name in folders if name.startswith(TEMPORARY)]
        folders[:] = [name for name in folders if name not in unfinished]
        for name in (*unfinished, *files):
            path = Path(folder, name)
            if name.startswith(TEMPORARY):
                yield "unfinished", path, lambda of, name=name: name.startswith(f"{TEMPORARY}{of}-")
            elif path.parent == root / PLANS:
                yield "plans", path, path.stem.removesuffix("-contents").__eq__
            elif path.parent == root / CLAIMS:
                yield "claims", path, (claim_owner(path) or "").__eq__
