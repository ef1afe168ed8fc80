"""What outlives a build: its record and rejects in the companions, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.job import Job
from flows.runner import timed
from schemas.manifest import Manifest
from schemas.refs import RejectsRef
from tasks.table.attempts import Tally
from tasks.table.build_log import embedding_rate_of, has_record, last_input_hash
from tasks.table.clusters import ClusterRecord, copy_clusters
from tasks.table.companions import append_build, append_rejects, copy_rejects
from tasks.table.dataset import TableRef, open_version
from tasks.table.releases import Release, tagged_release


def record_build(job: Job, manifest: Manifest, rejects: Sequence[RejectsRef]) -> None:
    """Write the build into `<space>__builds` and its rejects into `<space>__rejects`."""
    with timed(job.runner.seconds, "publish"):
        append_rejects(job.table, manifest.build_id, rejects, job.overrides.retried)
        append_build(job.table, manifest)


def record_inputs(
    job: Job, manifest: Manifest, rejects: Sequence[RejectsRef], tried: Tally
) -> bool:
    """Record a build that changes no row, if what it judged is new: other rejects, other rules.

    A build whose input is that of the release, or of a later such record, writes nothing at all,
    but for the attempts of a retry that `tried` any. Returns whether it wrote.
    """
    if last_input_hash(job.table) == manifest.input_hash and not tried.tried:
        return False
    record_build(job, manifest, rejects)
    return True


def record_missing(job: Job, release: Release | None) -> None:
    """Write the record of a published build that was killed before it could write its own."""
    if release is None:
        return
    with timed(job.runner.seconds, "publish"):
        record_release(job.table, release, by=job.build_id)


def record_release(ref: TableRef, release: Release, by: str | None = None) -> None:
    """Write the record of a published build unless it is there; `by`: another build that does it.

    A rollback gets the rejects and clusters of the release whose state it brought back.
    """
    name = release.manifest.build_id
    if has_record(ref, name):
        return
    if release.rollback_to is not None:
        restored = tagged_release(ref, release.rollback_to)
        if restored is not None:
            copy_rejects(ref, restored.manifest.build_id, name)
            copy_clusters(ref, restored.manifest.build_id, name)
    append_build(ref, release.manifest, after={"recorded_by": by} if by else {})


def embedding_rate(job: Job) -> float | None:
    """Contents a second: the median of the last builds that embedded any, from their records."""
    return embedding_rate_of(job.table)


def report_path(workdir: str, space: str, build_id: str) -> Path:
    """Where a build's report lies."""
    return Path(workdir) / "reports" / space / f"{build_id}.html"


def write_build_report(
    job: Job,
    manifest: Manifest,
    rejects: Sequence[RejectsRef],
    version: int | None,
    clusters: Sequence[ClusterRecord] = (),
) -> Path:
    """Write the build's report, from the release or the candidate at `version` if there is one."""
    from tasks.report.collect import collect
    from tasks.report.render import write_report

    with timed(job.runner.seconds, "publish"):
        dataset = None if version is None else open_version(job.table, version)
        path = report_path(job.spec.workdir, job.spec.space, job.build_id)
        return write_report(collect(dataset, manifest, _batches(rejects), clusters), path)


def _batches(rejects: Sequence[RejectsRef]) -> Iterator[pa.RecordBatch]:
    for ref in rejects:
        if ref.records or ref.items:
            yield from pq.ParquetFile(ref.path).iter_batches()
