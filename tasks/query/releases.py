"""Finding a space's table and one of its releases, from the spec and what a user typed."""

from __future__ import annotations

from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.table.dataset import TableRef
from tasks.table.releases import Release, list_releases, tagged_release


def find_release(spec: SpaceSpec, name: str | None = None) -> Release:
    """The release that `name` (a release or a tag) names, default `publish.tag`.

    Raises `UsageError` where there is none, with those that there are.
    """
    ref = TableRef.of(spec)
    wanted = name or spec.publish.tag
    found = tagged_release(ref, wanted)
    if found is not None:
        return found
    known = [release.name for release in list_releases(ref)]
    if not known:
        raise UsageError(
            f"space {spec.space!r} at {spec.uri} has no release yet; run `vecmill build` first"
        )
    raise UsageError(
        f"space {spec.space!r} has no release or tag {wanted!r}; it has "
        + (", ".join(known) if len(known) <= 8 else f"{known[0]} to {known[-1]}")
    )
