"""What is published when a build begins: the release, a hold, and the version to plan from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from flows.job import Job
from flows.recording import record_missing
from flows.runner import timed
from schemas.arrow import TABLE_NAMES, table_schema
from schemas.engines import AUTO
from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from schemas.spec import ClusterSpec
from tasks.embedders.engine_records import decide
from tasks.plan.base import BaseRef
from tasks.table.companions import Hold, current_hold
from tasks.table.dataset import (
    embedding_metadata,
    ensure_table,
    open_version,
    try_open,
)
from tasks.table.reconcile import reconcile, would_stand
from tasks.table.releases import Release
from tasks.table.transaction import Base, release_base, take_base


@dataclass(frozen=True)
class Standing:
    """The published state. `embedder` is the job's, in the engine and precision of the space.

    It may not be `decided` yet: see `flows.engines`.
    """

    release: Release | None
    hold: Hold | None
    embedder: EmbedderRef
    columns: pa.Schema | None  # the user's columns as published

    @property
    def vector_key(self) -> str | None:
        """The vector key of the published vectors, if any."""
        if self.release is None:
            return None
        published = self.release.manifest.embedder
        return f"{published.fingerprint}-{published.engine}-{published.precision}"


def find_standing(job: Job) -> Standing:
    """Finish what is committed (not in a dry run) and read what stands.

    Raises `UsageError` when the published vectors are of another embedder.
    """
    tag = job.spec.publish.tag
    with timed(job.runner.seconds, "publish"):
        hold = current_hold(job.table)
    if job.overrides.dry_run:
        release = would_stand(job.table, tag, hold is not None)
    else:
        release = job.runner.run("publish", reconcile, job.table, tag, hold is not None)
        record_missing(job, release)
    if release is None:
        return Standing(None, hold, _decided(job), None)
    _refuse_other_space(job, release)
    dataset = open_version(job.table, release.version)
    columns = [field for field in dataset.schema if field.name not in TABLE_NAMES]
    return Standing(release, hold, _as_recorded(job, release), pa.schema(columns))


def _refuse_other_space(job: Job, release: Release) -> None:
    published = release.manifest.embedder
    if published.fingerprint != job.embedder.fingerprint:
        raise UsageError(
            f"embedder: {job.embedder.model!r} has fingerprint {job.embedder.fingerprint}, but "
            f"release {release.name} of space {job.spec.space!r} was made by {published.model!r} "
            f"with {published.fingerprint}; another fingerprint is another embedding space: put "
            "the embedder back (model, prompts, normalize, dimensions), or choose a new `space`"
        )


def _as_recorded(job: Job, release: Release) -> EmbedderRef:
    """Engine and precision are chosen once per space: those of the release, unless the spec asks.

    Where it asks for another of the two, `auto` for the other one is chosen anew.
    """
    published, spec = release.manifest.embedder, job.spec.embedder
    if spec.engine in (AUTO, published.engine) and spec.precision in (AUTO, published.precision):
        return replace(job.embedder, engine=published.engine, precision=published.precision)
    return _decided(job)


def _decided(job: Job) -> EmbedderRef:
    """As the `workdir` has it, if it has; a dry run writes nothing there, no time of a file."""
    return decide(job.embedder, job.spec.kinds, mark=not job.overrides.dry_run)


def wanted_schema(job: Job, standing: Standing, columns: tuple[pa.Field, ...]) -> pa.Schema:
    """The schema that the spec asks of the table, with LanceDB's metadata where it may have it."""
    published = standing.columns
    if published is not None and sorted(published, key=str) == sorted(columns, key=str):
        columns = tuple(published)  # the order of columns in the spec is no change
    schema = table_schema(standing.embedder.dimensions, job.spec.publish.vector_type, columns)
    return schema.with_metadata(embedding_metadata(standing.embedder) or None)


@dataclass(frozen=True)
class Held:
    """The base version, tagged where the build may write."""

    tagged: Base | None  # None in a dry run
    plan: BaseRef
    overwrite: bool  # the table's schema is not the wanted one, or its clusters are not
    other_clusters: bool  # the spec asks for other clusters, or another map, than it did
    ahead: bool  # main holds a newer release than the one that stands


@contextmanager
def hold_base(job: Job, standing: Standing, schema: pa.Schema) -> Iterator[Held]:
    """Tag main's latest version for the time of the build and say what is planned from."""
    other = other_clusters(job, standing.release)
    if job.overrides.dry_run:
        dataset = try_open(job.table)
        version = None if dataset is None else dataset.version
        plan = BaseRef(job.table, version, standing.vector_key)
        overwrite = dataset is not None and not dataset.schema.equals(schema)
        yield Held(None, plan, overwrite or other, other, False)
        return
    with timed(job.runner.seconds, "plan"):
        ensure_table(job.table, schema)
    try:
        with timed(job.runner.seconds, "plan"):
            tagged = take_base(job.table, job.build_id)
        dataset = open_version(job.table, tagged.version)
        plan = BaseRef(job.table, tagged.version, standing.vector_key)
        stands = 0 if standing.release is None else standing.release.number
        overwrite = other or not dataset.schema.equals(schema)
        yield Held(tagged, plan, overwrite, other, tagged.release > stands)
    finally:
        with timed(job.runner.seconds, "publish"):
            release_base(job.table, job.build_id)


def other_clusters(job: Job, release: Release | None) -> bool:
    """Whether the fitted columns of the release's rows follow another spec."""
    return release is not None and cluster_of(release.manifest.resolved_spec) != job.spec.cluster


def cluster_of(resolved: dict[str, Any]) -> ClusterSpec | None:
    """The section `cluster` of a manifest's spec; None where it is off, or not known here."""
    try:
        return ClusterSpec.model_validate(resolved["cluster"])
    except (KeyError, ValidationError):
        return None
