"""Finding one build of a space, published or refused, and the rejects it left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from schemas.errors import UsageError
from schemas.manifest import Manifest
from schemas.spec import SpaceSpec
from tasks.query.rejects import COLUMNS
from tasks.query.releases import find_release
from tasks.table.companions import read_builds, sql_string
from tasks.table.dataset import TableRef, try_open

SHOWN = 5
"""Builds named in a message about one that does not exist."""


def find_build(
    spec: SpaceSpec, *, release: str | None = None, build: str | None = None
) -> Manifest:
    """The manifest of the build that made `release`, of build `build`, or of the latest build.

    `build` may be the beginning of an id, where only one id begins so. Raises `UsageError` where
    there is no such build, with those that there are.
    """
    if release is not None and build is not None:
        raise UsageError("--release and --build name a build each; give one of the two")
    if release is not None:
        return find_release(spec, release).manifest
    records = read_builds(TableRef.of(spec))
    if not records:
        raise UsageError(f"space {spec.space!r} at {spec.uri} was never built; run `vecmill build`")
    if build is None:
        return records[-1].manifest
    found = {r.manifest.build_id: r.manifest for r in records}
    matching = [name for name in found if name == build] or [
        n for n in found if n.startswith(build)
    ]
    if len(matching) != 1:
        last = ", ".join(list(found)[-SHOWN:])
        what = "several builds that begin with" if matching else "no build"
        raise UsageError(f"space {spec.space!r} has {what} {build!r}; the latest are {last}")
    return found[matching[0]]


def stored_rejects(
    spec: SpaceSpec, build_id: str, reason: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The rejects of a build from `<space>__rejects`, batch by batch, perhaps of one reason."""
    dataset = try_open(TableRef.of(spec).companion("rejects"))
    if dataset is None:
        return
    where = f"build_id = {sql_string(build_id)}"
    if reason is not None:
        where += f" AND reason = {sql_string(reason)}"
    yield from dataset.scanner(columns=COLUMNS, filter=where, scan_in_order=True).to_batches()
