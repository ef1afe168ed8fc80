"""One build's fixed facts: what is asked for, where it works, with which embedder.

A `Job` is what every step of the composition gets; it does not change while the build runs.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flows.runner import Runner
from schemas.refs import EmbedderRef
from schemas.spec import BuildOverrides, SpaceSpec
from tasks.plan.classify import drop_plan
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
    """Resolve the embedder and the places. A dry run works in a scratch folder that goes.

    `begun` is `time.perf_counter()` when the command began; null: now.
    """
    from tasks.embedders.resolve import resolve

    now = time.perf_counter()
    clock = now if begun is None else begun
    started_at = datetime.now(UTC) - timedelta(seconds=now - clock)
    runner.seconds["start_up"] = now - clock
    embedder = runner.run("start_up", resolve, spec.embedder, spec.kinds)
    name = build_id or new_build_id()
    with tempfile.TemporaryDirectory(prefix="vecmill-dry-run-") as scratch:
        store = Store(spec.workdir, scratch if overrides.dry_run else None, name)
        job = Job(
            build_id=name,
            spec=spec,
            overrides=overrides,
            embedder=embedder,
            table=TableRef.of(spec),
            store=store,
            runner=runner,
            workers=overrides.max_workers or spec.compute.max_workers or os.cpu_count() or 1,
            started_at=started_at,
            clock=clock,
        )
        try:
            yield job
        finally:
            drop_plan(store, name)
