"""The upkeep of one space: its tables, its companions and its `workdir`, under a lease of its own.

One upkeep of a space at a time; builds may be under way. What it leaves undone because of them it
says, and the next one does it.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.sweeping import Swept, sweep
from schemas.spec import SpaceSpec
from tasks.store.expiry import Expired, expire
from tasks.store.leases import Lease, hold_lease, living_leases, refuse_busy
from tasks.store.merging import merge_signatures, merge_vectors
from tasks.store.workdir import Store
from tasks.table.cleanup import GRACE, oldest_base
from tasks.table.dataset import TableRef
from tasks.table.maintain import (
    COMPANIONS,
    Rules,
    Upkeep,
    folder_bytes,
    maintain_tables,
    stored_bytes,
)

WORKDIR_DAYS = 7.0
"""Days after which an unused file of the `workdir` goes: a weekly build still finds its own, and a
rarer one reads its sources again but finds the vectors in the table."""

EXCLUDING = ("maintain", "forget", "rollback")
"""Work on a space that no upkeep runs beside."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk; None: not on this machine's file system."""

    table: int | None
    companions: int | None
    workdir: int


@dataclass(frozen=True)
class UpkeepReport:
    """What an upkeep did to a space."""

    space: str
    before: Sizes
    after: Sizes
    swept: Swept
    tables: Upkeep
    expired: Expired
    vector_files_merged: int
    left: tuple[str, ...]  # what was not done, and why

    def document(self) -> dict[str, Any]:
        """The report as one JSON document."""
        said = {"space": self.space, **asdict(self.tables), "left": list(self.left)}
        workdir = {**asdict(self.expired), "vector_files_merged": self.vector_files_merged}
        sizes = {"before": asdict(self.before), "after": asdict(self.after)}
        return {**said, "swept": asdict(self.swept), "workdir": workdir, "bytes": sizes}


def maintain_space(
    spec: SpaceSpec,
    keep: int | None = None,
    workdir_days: float = WORKDIR_DAYS,
    grace: timedelta = GRACE,
) -> UpkeepReport:
    """Compact, refresh indexes, retire old releases, remove what nothing needs.

    `keep` stands in for the spec's `publish.keep`. `grace`: for how long readers keep what a tag
    has just left. Raises `BusyError` while another upkeep, forgetting or rollback is under way.
    """
    ref, name = TableRef.of(spec), f"maintain-{secrets.token_hex(8)}"
    with hold_lease(spec.workdir, name, spec.space, "maintain") as lease:
        refuse_busy(spec.workdir, spec.space, "maintain", besides=name, busy=EXCLUDING)
        before = _sizes(spec, ref)
        swept = sweep(spec.workdir, ref, name)
        rules = Rules(
            tag=spec.publish.tag,
            keep=keep or spec.publish.keep,
            since=_oldest_build(spec, ref),
            grace=grace,
        )
        tables = maintain_tables(ref, name, rules, lease.check)

        def others() -> list[Lease]:
            return [each for each in living_leases(spec.workdir) if each.name != name]

        def alone() -> bool:
            return not others() and oldest_base(ref) is None

        expired = expire(spec.workdir, workdir_days, others())
        merged = merge_vectors(Store(spec.workdir, owner=name), alone)
        merge_signatures(Store(spec.workdir, owner=name), alone)
        left = [*tables.left]
        if at_work := others():
            left.append(
                "merging vector files, and expiry of what is younger than those at work: "
                + ", ".join(map(str, at_work))
            )
        after = _sizes(spec, ref)
    return UpkeepReport(spec.space, before, after, swept, tables, expired, merged, tuple(left))


def _oldest_build(spec: SpaceSpec, ref: TableRef) -> datetime | None:
    """When the oldest build of the space that is under way began, as far as one can see."""
    begun = [
        datetime.fromtimestamp(lease.holder.started, UTC)
        for lease in living_leases(spec.workdir, spec.space)
        if lease.work == "build"
    ]
    base = oldest_base(ref)
    return min([*begun, *([base] if base else [])], default=None)


def _sizes(spec: SpaceSpec, ref: TableRef) -> Sizes:
    beside = [stored_bytes(ref.companion(name)) for name in COMPANIONS]
    local = [size for size in beside if size is not None]
    return Sizes(
        table=stored_bytes(ref),
        companions=sum(local) if len(local) == len(beside) else None,
        workdir=folder_bytes(Path(spec.workdir)),
    )
