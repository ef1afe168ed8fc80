"""A plan becomes a candidate: rows are written, and committed where nobody looks by accident."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from schemas.errors import VecmillError
from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef, PlanRef
from tasks.geometry.fit import Fit
from tasks.publish.rows import replaced_rows, staged_rows, written_count
from tasks.store.memory import frugal
from tasks.store.workdir import Store
from tasks.table import transaction
from tasks.table.dataset import open_version
from tasks.table.transaction import Base, Staged


@dataclass(frozen=True)
class Candidate:
    """A staged build, readable at the detached `version`."""

    staged: Staged
    version: int
    release: int  # the number it gets when it is published

    @property
    def base(self) -> Base:
        """What it was planned from."""
        return self.staged.base

    @property
    def data_files(self) -> frozenset[str]:
        """The data files that this build wrote: what row gates look at."""
        return frozenset(self.staged.data_files)


def stage(
    base: Base,
    plan: PlanRef,
    embedder: EmbedderRef,
    store: Store,
    schema: pa.Schema,
    fit: Fit | None = None,
    progress: Progress = SILENT,
) -> Candidate:
    """Write the plan's rows and commit them detached; nothing of it is on main.

    `schema` is the table's, with its metadata; `fit` places the rows. Where this raises, no file
    is left behind.
    """
    if plan.base_version != base.version:
        raise VecmillError(
            f"the plan is of version {plan.base_version} of {base.ref.path}, the base is version "
            f"{base.version}: plan again"
        )
    dataset = open_version(base.ref, base.version)
    batches = staged_rows(plan, embedder, store, dataset, schema, fit, progress)
    with frugal():
        if plan.overwrite or base.fragments == 0:
            staged = transaction.stage_overwrite(base, batches, schema, written_count(plan))
        else:
            staged = transaction.stage_update(base, replaced_rows(plan), batches, schema)
    if staged.written != written_count(plan):
        transaction.discard(staged)
        raise VecmillError(
            f"{staged.written} rows were staged, but the plan {plan.path} writes "
            f"{written_count(plan)}; delete the workdir and build again"
        )
    staged = staged.commit_candidate()
    assert staged.candidate is not None
    return Candidate(staged, staged.candidate, base.release + 1)


def discard(candidate: Candidate) -> None:
    """Unlink everything that the candidate wrote and drop its base tag."""
    transaction.discard(candidate.staged)
    transaction.release_base(candidate.base.ref, candidate.base.build_id)
