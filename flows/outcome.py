"""How a build ended: its manifest, the exit code and one message for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import polars as pl

from flows.embedding_cost import EmbeddingCost
from flows.gather import State
from flows.job import Job
from flows.standing import Standing
from schemas.manifest import (
    AuditResult,
    Counts,
    DuplicateCounts,
    EmbedderRecord,
    Manifest,
    Timings,
)
from schemas.refs import PlanRef, RejectsRef
from tasks.geometry.fit import Fit
from tasks.table.attempts import NOTHING_TRIED, Tally
from tasks.table.clusters import ClusterRecord

PUBLISHED, FAILED, WRONG, REFUSED = 0, 1, 2, 3
"""Exit codes: published or nothing to do; anything else; wrong spec or command; refused."""


@dataclass(frozen=True)
class Outcome:
    """What a build leaves behind for whoever started it."""

    manifest: Manifest
    exit_code: int
    message: str
    report: Path | None = None


@dataclass(frozen=True)
class Made:
    """What a build has made so far; each step returns it with one more thing in it."""

    state: State | None = None
    verdicts: tuple[AuditResult, ...] = ()  # guards and gates; the state's own stand in the state
    plan: PlanRef | None = None
    embedded: int = 0  # distinct contents, by attempts that lost against another build too
    cost: EmbeddingCost = field(default_factory=EmbeddingCost)  # of the last attempt
    item_rejects: RejectsRef | None = None  # items whose content could not be embedded
    unusable: dict[bytes, dict] = field(default_factory=dict)  # their content → reason and detail
    tried: Tally = NOTHING_TRIED  # rejects of earlier builds, in a retry
    judged: bool = False  # by vectors, too: until then the plan may be provisional
    fit: Fit | None = None  # that rows are placed by
    fit_id: str | None = None  # also where nothing is placed
    clusters: tuple[ClusterRecord, ...] = ()  # of the candidate
    new_fit: bool = False  # it is not the release's
    input_hash: str = ""
    candidate: int | None = None  # its detached version

    @property
    def audits(self) -> tuple[AuditResult, ...]:
        """Every verdict so far."""
        return (*(self.state.verdicts if self.state else ()), *self.verdicts)

    @property
    def refusing(self) -> tuple[AuditResult, ...]:
        """The verdicts that stop the build."""
        return tuple(audit for audit in self.audits if audit.refuses)

    @property
    def changes(self) -> bool:
        """Whether the plan would write anything."""
        return self.plan is not None and self.plan.changes

    @property
    def rejects(self) -> tuple[RejectsRef, ...]:
        """Every reject so far."""
        last = (self.item_rejects,) if self.item_rejects else ()
        return (*(self.state.rejects if self.state else ()), *last)


def count(made: Made) -> Counts:
    """The counts of a build that came as far as `made`."""
    state, plan = made.state, made.plan
    if state is None:
        return Counts()
    chunk_rejects = sum(part.rejects.items for part in state.items)
    embed_rejects = made.item_rejects.items if made.item_rejects else 0
    items = sum(part.items for part in state.items) + chunk_rejects
    classes = plan.classes if plan else {}
    rows = sum(n for name, n in classes.items() if name != "removed")
    written = rows if plan and plan.overwrite else rows - classes.get("unchanged", 0)
    return Counts(
        records=state.records,
        records_used=state.records_used,
        records_rejected=state.records_rejected,
        items=items,
        items_rejected=embed_rejects + chunk_rejects,
        rows=rows,
        embedded=made.embedded,
        reused=max(written - max(made.embedded, plan.to_embed if plan else 0), 0),
        truncated=sum(part.truncated for part in state.items),
        duplicates=_duplicates(plan),
        **classes,
    )


def _duplicates(plan: PlanRef | None) -> DuplicateCounts:
    if plan is None:
        return DuplicateCounts()
    rows = pl.scan_parquet(plan.path).filter(pl.col("class") != "removed")
    kinds = rows.select("duplicate_kind").drop_nulls().collect()["duplicate_kind"]
    return DuplicateCounts(**dict(kinds.value_counts().iter_rows()))


def retry_in_words(made: Made) -> str:
    """What a retry tried and how much of it healed: the end of a message, "" for no retry."""
    tried = made.tried
    if not tried.tried:
        return ""
    rejects = "reject" if tried.tried == 1 else "rejects"
    healed = f"{tried.healed:,}" if tried.healed else "none"
    return f"; {tried.tried:,} {rejects} tried again, {healed} healed"


def draft(job: Job, standing: Standing, made: Made) -> Manifest:
    """The manifest of the build as far as it has come."""
    release, embedder = standing.release, standing.embedder
    return Manifest(
        space=job.spec.space,
        build_id=job.build_id,
        tag=job.spec.publish.tag,
        base_release=release.name if release else None,
        input_hash=made.input_hash,
        resolved_spec=job.spec.model_dump(mode="json", by_alias=True),
        counts=count(made),
        embedder=EmbedderRecord(
            fingerprint=embedder.fingerprint,
            kind=embedder.kind,
            model=embedder.model,
            dimensions=embedder.dimensions,
            precision=embedder.precision,
            engine=embedder.engine,
        ),
        fit_id=made.fit_id,
        audits=made.audits,
        timings=timings(job),
        sources=made.state.sources if made.state else (),
        code_version=version("vecmill"),
        started_at=job.started_at,
    )


def timings(job: Job) -> Timings:
    """The seconds of each stage so far, and in all."""
    return Timings.model_validate({**job.runner.seconds, "total": job.seconds})


def finished(job: Job, manifest: Manifest, **changes: object) -> Manifest:
    """The manifest at the end of the build, with its last timings."""
    last = {"timings": timings(job), "finished_at": datetime.now(UTC)}
    return manifest.model_copy(update={**last, **changes})
