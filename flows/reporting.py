"""The report of a release or a build after the fact: from the table and its companions."""

from __future__ import annotations

from pathlib import Path

from flows.recording import report_path
from schemas.spec import SpaceSpec
from tasks.query.builds import find_build
from tasks.query.releases import find_release
from tasks.report.collect import collect
from tasks.report.render import write_report
from tasks.table.clusters import clusters_for
from tasks.table.companions import read_rejects
from tasks.table.dataset import TableRef, open_version


def report_of(spec: SpaceSpec, *, release: str | None = None, build: str | None = None) -> Path:
    """Write the report of `release` or `build` (default: of the release that prod names).

    The rows of a refused build, or of a retired release, are gone: its report is the one that the
    build wrote, or, where the `workdir` was deleted, one from the companions alone. Raises
    `UsageError` for an unknown name.
    """
    if build is None:
        manifest = find_release(spec, release).manifest
    else:
        manifest = find_build(spec, release=release, build=build)
    path = report_path(spec.workdir, spec.space, manifest.build_id)
    version = manifest.version if manifest.published else None
    if version is None and path.exists():
        return path
    dataset = None if version is None else open_version(TableRef.of(spec), version)
    rejects = read_rejects(TableRef.of(spec), manifest.build_id)
    clusters = clusters_for(TableRef.of(spec), manifest)
    return write_report(collect(dataset, manifest, rejects, clusters), path)
