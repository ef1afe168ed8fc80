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
from tasks.table.build_log import embedding_rate_of, has_record, last_input_hash
from tasks.table.companions import append_build, append_rejects
from tasks.table.dataset import open_version
from tasks.table.releases import Release


def record_build(job: Job, manifest: Manifest, rejects: Sequence[RejectsRef]) -> None:
    """Write the build into `<space>__builds` and its rejects into `<space>__rejects`."""
    with timed(job.runner.seconds, "publish"):
        append_rejects(job.table, manifest.build_id, rejects)
        append_build(job.table, manifest)


def record_inputs(job: Job, manifest: Manifest, rejects: Sequence[RejectsRef]) -> bool:
    """Record a build that changes no row, if what it judged is new: other rejects, other rules.

    A build whose input is that of the release, or of a later such record, writes nothing at all.
    Returns whether it wrote.
    """
    if last_input_hash(job.table) == manifest.input_hash:
        return False
    record_build(job, manifest, rejects)
    return True


def record_missing(job: Job, release: Release | None) -> None:
    """Write the record of a published build that was killed before it could write its own."""
    if release is None:
        return
    with timed(job.runner.seconds, "publish"):
        if not has_record(job.table, release.manifest.build_id):
            append_build(job.table, release.manifest, after={"recorded_by": job.build_id})


def embedding_rate(job: Job) -> float | None:
    """Contents a second: the median of the last builds that embedded any, from their records."""
    return embedding_rate_of(job.table)


def report_path(workdir: str, space: str, build_id: str) -> Path:
    """Where a build's report lies."""
    return Path(workdir) / "reports" / space / f"{build_id}.html"


def write_build_report(
    job: Job, manifest: Manifest, rejects: Sequence[RejectsRef], version: int | None
) -> Path:
    """Write the build's report, from the release or the candidate at `version` if there is one."""
    from tasks.report.collect import collect
    from tasks.report.render import write_report

    with timed(job.runner.seconds, "publish"):
        dataset = None if version is None else open_version(job.table, version)
        path = report_path(job.spec.workdir, job.spec.space, job.build_id)
        return write_report(collect(dataset, manifest, _batches(rejects)), path)


def _batches(rejects: Sequence[RejectsRef]) -> Iterator[pa.RecordBatch]:
    for ref in rejects:
        if ref.records or ref.items:
            yield from pq.ParquetFile(ref.path).iter_batches()
