"""Sweep a space's tables: base tags, candidates and data files of builds that were killed.

    base tags       of the dead → dropped; of a builder that nobody here knows → kept for a day
    orphans         files that no version of main references, detached manifests

Orphans go only while nobody else can be building the space, in an order that leaves no gap:

    (a) list every file                  what a later builder writes is not in the list
    (b) nobody else is at work           who was at work during (a) has ended: committed or gone
    (c) ask what main's versions hold    what was committed by then is held
    (d) remove (a) − (c)

What is younger than the dead is left for an hour (somebody may make an index by other means), and
so is everything in the companions, which are appended to without a lease. Nothing is listed where
nobody died.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.store.leases import TIME_TO_LIVE, Lease, living_leases
from tasks.table.dataset import TableRef, open_main, read_tags, try_open
from tasks.table.releases import BASE_PREFIX
from tasks.table.transaction import release_base

TAG_KEPT = 86_400.0
"""Seconds that the base tag of a builder without a lease here is kept: it may work in another
`workdir`. A day is longer than a build."""

YOUNG = 3_600.0
"""Seconds within which a file may belong to a commit under way: longer than one takes to write."""

COMPANIONS = ("builds", "rejects", "clusters", "fits", "tombstones")

SWEPT_FOLDERS = ("data/", "_deletions/", "_transactions/", "_indices/")
"""Where a file that no version references is an orphan."""

UNFINISHED = re.compile(r"(^|/)\.tmp[^/]*$|#\d+$")
"""Names under which Lance and its object store write on a file system before they rename."""

DETACHED = re.compile(r"^_versions/d\d+\.manifest$")


@dataclass(frozen=True)
class SweptTable:
    """What was removed from a space's tables. `bytes` counts the files' sizes.

    `complete` says that nothing of the dead is left, but perhaps small transaction files of a
    companion; else somebody must look again later.
    """

    base_tags: tuple[str, ...] = ()  # build ids
    candidates: int = 0
    orphans: int = 0  # data, deletion, transaction and index files
    bytes: int = 0
    complete: bool = True


@dataclass(frozen=True)
class _File:
    path: str  # below the table
    size: int
    modified: float  # seconds since 1970


def sweep_table(ref: TableRef, root: str, dead: Sequence[Lease], own: str) -> SweptTable:
    """Remove what the `dead` (buried leases of `root`) left in the space's tables.

    `own` is the lease of whoever sweeps. Works on any store that Lance writes to.
    """
    dropped, unknown = _drop_base_tags(ref, root, {lease.name for lease in dead})
    swept = SweptTable(base_tags=tuple(dropped))
    mine = [
        x for x in dead if x.name in dropped or (x.space == ref.space and x.table in ("", ref.path))
    ]
    if not mine and not dropped:
        return swept
    if unknown or _others(ref, root, own):
        return replace(swept, complete=False)
    until = max((lease.last_sign for lease in mine), default=0.0) + TIME_TO_LIVE

    def alone() -> bool:
        return not _others(ref, root, own) and not _foreign_bases(ref, own)

    for table, limit in ((ref, until), *((ref.companion(name), 0.0) for name in COMPANIONS)):
        swept = _sweep_orphans(table, limit, alone, swept)
    return swept


def of_table(lease: Lease, ref: TableRef) -> bool:
    """Whether the lease is of work on that table: spaces of one name may share a `workdir`."""
    return lease.space == ref.space and lease.table in ("", ref.path)


def _drop_base_tags(ref: TableRef, root: str, dead: Collection[str]) -> tuple[list[str], list[str]]:
    """The builds whose base tag was dropped, and those that may be at work elsewhere."""
    dataset = try_open(ref)
    tags = {} if dataset is None else read_tags(dataset)
    living = {lease.name for lease in living_leases(root)}  # after the tags: a lease comes first
    dropped, unknown = [], []
    for name, tag in tags.items():
        build = name.removeprefix(BASE_PREFIX)
        if not name.startswith(BASE_PREFIX) or build in living:
            continue
        if build in dead or time.time() - tag["created_at"].timestamp() > TAG_KEPT:
            release_base(ref, build)
            dropped.append(build)
        else:
            unknown.append(build)
    return dropped, unknown


def _others(ref: TableRef, root: str, own: str) -> list[Lease]:
    return [lease for lease in living_leases(root, ref.space) if lease.name != own]


def _foreign_bases(ref: TableRef, own: str) -> list[str]:
    dataset = try_open(ref)
    tags = {} if dataset is None else read_tags(dataset)
    return [n for n in tags if n.startswith(BASE_PREFIX) and n != f"{BASE_PREFIX}{own}"]


def _sweep_orphans(
    ref: TableRef, until: float, alone: Callable[[], bool], swept: SweptTable
) -> SweptTable:
    dataset = try_open(ref)
    if dataset is None:
        return swept
    files = _list(ref, dataset)
    if not alone():
        return replace(swept, complete=False)
    main = open_main(ref)  # as it is now
    held = set(main.tracked_files().read_all().column("path").to_pylist())
    orphans = [f for f in files if _may_be_orphan(f.path) and f.path not in held]
    old = time.time() - YOUNG
    gone = [f for f in orphans if f.modified <= max(until, old)]
    _remove(ref, dataset, gone)
    left = [f for f in orphans if f not in gone and not f.path.startswith("_transactions/")]
    candidates = sum(bool(DETACHED.match(f.path)) for f in gone)
    return replace(
        swept,
        candidates=swept.candidates + candidates,
        orphans=swept.orphans + len(gone) - candidates,
        bytes=swept.bytes + sum(f.size for f in gone),
        complete=swept.complete and not left,
    )


def _may_be_orphan(path: str) -> bool:
    return bool(path.startswith(SWEPT_FOLDERS) or DETACHED.match(path) or UNFINISHED.search(path))


def _list(ref: TableRef, dataset: Any) -> list[_File]:
    """Every file of the table; on a file system the unfinished too, which Lance does not list."""
    if ref.local is None:
        listed = dataset.all_files().read_all().select(["path", "size_bytes", "last_modified"])
        return [
            _File(row["path"], row["size_bytes"], row["last_modified"].timestamp())
            for row in listed.to_pylist()
        ]
    found = []
    for folder, _, names in os.walk(ref.local):
        for name in names:
            path = Path(folder, name)
            with suppress(FileNotFoundError):  # another builder's, finished meanwhile
                status = path.stat()
                below = path.relative_to(ref.local).as_posix()
                found.append(_File(below, status.st_size, status.st_mtime))
    return found


def _remove(ref: TableRef, dataset: Any, files: Sequence[_File]) -> None:
    if ref.local is None:
        session = dataset.new_file_session()
        for file in files:
            if session.contains(file.path):
                session.delete_file(file.path)
        return
    for file in files:
        path = ref.local / file.path
        path.unlink(missing_ok=True)
        if file.path.startswith("_indices/"):
            with suppress(OSError):  # other files of the index are still there
                path.parent.rmdir()
