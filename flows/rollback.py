"""Back to an earlier release: a new release with the old content, `prod` on it, and a hold.

    finish what stands → choose and vet the target → hold and intent → restore → tags → record

Killed anywhere after the intent, the next build, rollback or `release-hold` finishes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.job import new_build_id
from flows.outcome import PUBLISHED, Outcome
from flows.recording import record_release
from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.query.releases import find_release
from tasks.store.leases import hold_lease, refuse_busy
from tasks.table.companions import current_hold
from tasks.table.dataset import TableRef
from tasks.table.reconcile import finish_rollback, reconcile
from tasks.table.releases import Release, list_releases, number_of
from tasks.table.rollback import begin_rollback, vet_target


def roll_back(spec: SpaceSpec, to: str | None, reason: str, who: str) -> Outcome:
    """Publish the content of release or tag `to` again (None: of the release before).

    Going back to what stands already writes nothing. Raises `UsageError` where there is no such
    release, or where it may not be brought back.
    """
    ref, build_id = TableRef.of(spec), new_build_id()
    with hold_lease(spec.workdir, build_id, spec.space, "rollback"):
        refuse_busy(
            spec.workdir, spec.space, "rollback", besides=build_id, busy=("maintain", "forget")
        )
        standing = finish_standing(spec)
        if standing is None:
            raise UsageError(
                f"space {spec.space!r} at {spec.uri} has no release to go back to; "
                "run `vecmill build` first"
            )
        releases = list_releases(ref)
        target = find_release(spec, to) if to else release_before(releases, standing)
        if content_name(releases, target) == content_name(releases, standing):
            message = (
                f"{standing.name} of {spec.space!r} stands, with the content of {target.name} "
                "already: nothing was written"
            )
            return Outcome(standing.manifest, PUBLISHED, message)
        vet_target(ref, target, standing)
        tag = spec.publish.tag
        begun = begin_rollback(ref, build_id, target, standing, tag, reason, who)
        release = finish_rollback(ref, begun)
        record_release(ref, release)
    message = (
        f"published {release.name} of {spec.space!r}: the content of {target.name} again, "
        f"{release.manifest.counts.rows:,} rows, tag {tag!r}. The space is held: builds stage and "
        "report but do not publish until `vecmill release-hold`"
    )
    return Outcome(release.manifest, PUBLISHED, message)


def finish_standing(spec: SpaceSpec, by: str = "rollback") -> Release | None:
    """Finish what a killed build or rollback left (while held: rollbacks alone); what stands.

    `by` is the work that does it, for the record.
    """
    ref = TableRef.of(spec)
    release = reconcile(ref, spec.publish.tag, current_hold(ref) is not None)
    if release is not None:
        record_release(ref, release, by=by)
    return release


def release_before(releases: Sequence[Release], standing: Release) -> Release:
    """The release before the one whose content stands.

    After a rollback to v0003 that is v0002: going back twice leads further back, not to the
    release that was left the first time.
    """
    content = content_name(releases, standing)
    number = number_of(content)  # by its name: it may be retired
    before = [release for release in releases if release.number < number]
    if not before:
        raise UsageError(
            f"there is no release before {content}, whose content stands as {standing.name}; "
            "`vecmill versions` lists what there is, --to NAME chooses one"
        )
    return before[-1]


def content_name(releases: Sequence[Release], release: Release) -> str:
    """The release that first had this content: itself, unless it is a rollback."""
    known = {each.name: each for each in releases}
    while release.rollback_to in known:
        release = known[release.rollback_to]
    return release.rollback_to or release.name
