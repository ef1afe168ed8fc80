"""One build's fixed facts: what is asked for, where it works, with which embedder.

A `Job` is what every step of the composition gets; it does not change while the build runs.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flows.runner import Runner, timed
from flows.sweeping import sweep
from schemas.refs import EmbedderRef
from schemas.spec import BuildOverrides, SpaceSpec
from tasks.plan.classify import drop_plan
from tasks.processes.cores import usable_cores
from tasks.store.leases import HeldLease, hold_lease, refuse_busy
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef


@dataclass(frozen=True)
class Job:
    """What a build is asked for, and where it works."""

    build_id: str
    spec: SpaceSpec
    overrides: BuildOverrides
    embedder: EmbedderRef
    table: TableRef
    store: Store
    runner: Runner
    workers: int
    started_at: datetime
    clock: float  # time.perf_counter() when the build began
    lease: HeldLease | None  # None in a dry run

    def check_lease(self) -> None:
        """Raise `LeaseLostError` where somebody took this build for dead: it may not publish."""
        if self.lease is not None:
            self.lease.check()

    @property
    def seconds(self) -> float:
        """Seconds by the clock since the build began."""
        return time.perf_counter() - self.clock


def new_build_id() -> str:
    """16 random hex digits."""
    return secrets.token_hex(8)


@contextmanager
def open_job(
    spec: SpaceSpec,
    overrides: BuildOverrides,
    runner: Runner,
    build_id: str | None = None,
    begun: float | None = None,
) -> Iterator[Job]:
    """Resolve the embedder and the places, hold a lease there and sweep what the dead left.

    A dry run works in a scratch folder that goes; it holds nothing and sweeps nothing. Raises
    `BusyError` while somebody erases records of a space that shares the `workdir`.
    `begun` is `time.perf_counter()` when the command began; null: now.
    """
    from tasks.embedders.engine_records import exports_folder
    from tasks.embedders.resolve import resolve

    now = time.perf_counter()
    clock = now if begun is None else begun
    started_at = datetime.now(UTC) - timedelta(seconds=now - clock)
    runner.seconds["start_up"] = now - clock
    embedder = runner.run("start_up", resolve, spec.embedder, spec.kinds)
    embedder = replace(embedder, exports=exports_folder(spec.workdir))
    name = build_id or new_build_id()
    table = TableRef.of(spec)
    with ExitStack() as held:
        scratch, lease = None, None
        if overrides.dry_run:
            folder = tempfile.TemporaryDirectory(prefix="vecmill-dry-run-")
            scratch = held.enter_context(folder)
        else:
            lease = _begin(held, spec, table, runner, name)
        store = Store(spec.workdir, scratch, name)
        job = Job(
            build_id=name,
            spec=spec,
            overrides=overrides,
            embedder=embedder,
            table=table,
            store=store,
            runner=runner,
            workers=overrides.max_workers or spec.compute.max_workers or usable_cores(),
            started_at=started_at,
            clock=clock,
            lease=lease,
        )
        try:
            yield job
        finally:
            drop_plan(store, name)


def _begin(
    held: ExitStack, spec: SpaceSpec, table: TableRef, runner: Runner, name: str
) -> HeldLease:
    """Take the build's lease for as long as `held` lasts, and sweep what the dead left."""
    with timed(runner.seconds, "start_up"):
        at_work = hold_lease(spec.workdir, name, spec.space, "build", table.path)
        lease = held.enter_context(at_work)
        # what is erased may lie in staged files of any space that shares the workdir
        refuse_busy(spec.workdir, None, "build", besides=name, busy=("forget",))
        if swept := sweep(spec.workdir, table, name):
            runner.say(str(swept))
    return lease
