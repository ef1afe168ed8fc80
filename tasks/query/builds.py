"""Finding one build of a space, published or refused."""

from __future__ import annotations

from schemas.errors import UsageError
from schemas.manifest import Manifest
from schemas.spec import SpaceSpec
from tasks.query.releases import find_release
from tasks.table.companions import read_builds
from tasks.table.dataset import TableRef
from tasks.table.releases import tagged_release

SHOWN = 5
"""Builds named in a message about one that does not exist."""


def find_build(
    spec: SpaceSpec, *, release: str | None = None, build: str | None = None
) -> Manifest:
    """The manifest of the build that made `release`, of build `build`, or of the latest build.

    `build` may be the beginning of an id, where only one id begins so. Its version is the one that
    its release has now, None where that was retired. Raises `UsageError` where there is no such
    build, with those that there are.
    """
    if release is not None and build is not None:
        raise UsageError("--release and --build name a build each; give one of the two")
    if release is not None:
        return find_release(spec, release).manifest
    ref = TableRef.of(spec)
    records = read_builds(ref)
    if not records:
        raise UsageError(f"space {spec.space!r} at {spec.uri} was never built; run `vecmill build`")
    if build is None:
        return _as_it_stands(ref, records[-1].manifest)
    found = {r.manifest.build_id: r.manifest for r in records}
    matching = [name for name in found if name == build] or [
        n for n in found if n.startswith(build)
    ]
    if len(matching) != 1:
        last = ", ".join(list(found)[-SHOWN:])
        what = "several builds that begin with" if matching else "no build"
        raise UsageError(f"space {spec.space!r} has {what} {build!r}; the latest are {last}")
    return _as_it_stands(ref, found[matching[0]])


def _as_it_stands(ref: TableRef, manifest: Manifest) -> Manifest:
    """The recorded manifest with its release's version: upkeep moves it on, or retires it."""
    if not manifest.published or manifest.release is None:
        return manifest
    release = tagged_release(ref, manifest.release)
    version = None
    if release is not None and release.manifest.build_id == manifest.build_id:
        version = release.version
    return manifest.model_copy(update={"version": version})
