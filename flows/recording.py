"""What outlives a build: its record and rejects in the companions, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.job import Job
from schemas.manifest import Manifest
from schemas.refs import RejectsRef
from tasks.table.companions import append_build, append_rejects, read_builds
from tasks.table.dataset import open_version


def record_build(job: Job, manifest: Manifest, rejects: Sequence[RejectsRef]) -> None:
    """Write the build into `<space>__builds` and its rejects into `<space>__rejects`."""
    append_rejects(job.table, manifest.build_id, rejects)
    append_build(job.table, manifest)


def record_inputs(job: Job, manifest: Manifest, rejects: Sequence[RejectsRef]) -> None:
    """Record a build that changes no row, if what it judged is new: other rejects, other rules.

    A build whose input was seen before writes nothing at all.
    """
    builds = read_builds(job.table)
    if not builds or builds[-1].manifest.input_hash != manifest.input_hash:
        record_build(job, manifest, rejects)


def embedding_rate(job: Job) -> float | None:
    """Contents a second in the last build that embedded any, from its own record."""
    for build in reversed(read_builds(job.table)):
        counts, timings = build.manifest.counts, build.manifest.timings
        if counts.embedded and timings.embed:
            return counts.embedded / timings.embed
    return None


def report_path(workdir: str, space: str, build_id: str) -> Path:
    """Where a build's report lies."""
    return Path(workdir) / "reports" / space / f"{build_id}.html"


def write_build_report(
    job: Job, manifest: Manifest, rejects: Sequence[RejectsRef], version: int | None
) -> Path:
    """Write the build's report, from the release or the candidate at `version` if there is one."""
    from tasks.report.collect import collect
    from tasks.report.render import write_report

    dataset = None if version is None else open_version(job.table, version)
    path = report_path(job.spec.workdir, job.spec.space, job.build_id)
    return write_report(collect(dataset, manifest, _batches(rejects)), path)


def _batches(rejects: Sequence[RejectsRef]) -> Iterator[pa.RecordBatch]:
    for ref in rejects:
        if ref.records or ref.items:
            yield from pq.ParquetFile(ref.path).iter_batches()
