"""A candidate becomes a release: one commit on main, then index, tags and the moving tag."""

from __future__ import annotations

from collections.abc import Callable

from schemas.manifest import Manifest
from tasks.publish.stage import Candidate, discard
from tasks.table import transaction
from tasks.table.history import BUILD, MANIFEST, RELEASE, StrangerError
from tasks.table.reconcile import finish
from tasks.table.releases import Release
from tasks.table.transaction import ConflictError


def manifest_properties(manifest: Manifest, release: int) -> dict[str, str]:
    """What the version carries; release, version and published are derived on reading."""
    bare = manifest.model_copy(update={"release": None, "version": None, "published": False})
    return {BUILD: manifest.build_id, RELEASE: str(release), MANIFEST: bare.to_json()}


def publish(
    candidate: Candidate, manifest: Manifest, check: Callable[[], None] | None = None
) -> Release:
    """Commit the candidate's own transaction on main and finish the release.

    `check` is called right before each try of the commit; where it raises, nothing is committed.
    Raises `ConflictError` when another build was first: the candidate is discarded then, and the
    caller plans again from a new base. Raises `StrangerError` when something else changed the
    rows: no tag moves. Killed after the commit, the next reconcile finishes it.
    """
    properties = manifest_properties(manifest, candidate.release)
    try:
        version = transaction.commit(candidate.staged, properties, manifest.tag, check)
    except (ConflictError, StrangerError):
        discard(candidate)
        raise
    release = finish(candidate.base.ref, version, manifest.tag)
    transaction.drop_candidate(candidate.staged)
    transaction.release_base(candidate.base.ref, candidate.base.build_id)
    return release
