"""Rolling back: a new release with the content of an old one, by one `Restore` on main.

    begin_rollback(ref, …)       the hold and the intent, into `<space>__builds`
    restore(ref, rollback)       the commit, with manifest and number, unless it is there already
    restore_again(ref, commit)   the same once more, where another build had that number first

A restore never conflicts: it wins over whatever was committed since it looked. So it looks back
afterwards, and where a build or another rollback took its number in between, it restores again
with a higher one. The intent comes first: whoever finds it without a release finishes it
(`tasks.table.reconcile`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

from schemas.errors import UsageError
from schemas.manifest import Manifest, Timings
from tasks.table.changes import count_classes, row_changes
from tasks.table.companions import append_event, read_builds, read_events, set_hold
from tasks.table.dataset import TableRef, open_main, open_version, read_tags
from tasks.table.history import (
    BUILD,
    MANIFEST,
    RELEASE,
    ROLLBACK,
    Commit,
    find_build,
    main_versions,
    read_commit,
)
from tasks.table.releases import (
    DATA_PREFIX,
    Release,
    release_number,
    release_versions,
    tagged_release,
)
from tasks.table.tombstones import forgotten_rows, read_tombstones


@dataclass(frozen=True)
class Rollback:
    """A rollback that was begun: what the intent in `<space>__builds` says."""

    build_id: str
    target: str  # the release whose content comes back
    base: str  # the release that stood
    tag: str  # that is moved
    main: int  # main's version when it was begun
    reason: str
    who: str
    started_at: datetime


def vet_target(ref: TableRef, target: Release, standing: Release) -> None:
    """Raise `UsageError` where `target` may not be brought back while `standing` stands.

    Asked before the intent is written, and again by whoever finishes it.
    """
    made_by, stands_by = target.manifest.embedder, standing.manifest.embedder
    if made_by.fingerprint != stands_by.fingerprint:
        raise UsageError(
            f"release {target.name} was made by {made_by.model!r} with fingerprint "
            f"{made_by.fingerprint}, {standing.name} by {stands_by.model!r} with "
            f"{stands_by.fingerprint}; another fingerprint is another embedding space, which this "
            "table cannot go back to: publish that embedder's vectors as a space of their own"
        )
    hashes = set(read_tombstones(ref)["hash"])
    forgotten = forgotten_rows(open_version(ref, target.version), hashes) if hashes else 0
    if forgotten:
        raise UsageError(
            f"release {target.name} holds {forgotten:,} rows of records that were forgotten, which "
            "must not come back: roll back to a later release, or run `vecmill forget` again, "
            "which retires the releases that hold them"
        )


def begin_rollback(
    ref: TableRef,
    build_id: str,
    target: Release,
    standing: Release,
    tag: str,
    reason: str,
    who: str,
) -> Rollback:
    """Hold the space and write down what is to be brought back; nothing is restored yet."""
    now, base, main = datetime.now(UTC), standing.name, open_main(ref).version
    why = f": {reason}" if reason else ""
    set_hold(ref, f"rolled back from {base} to {target.name}{why}", who)
    append_event(
        ref,
        event="rollback",
        build_id=build_id,
        release=target.name,
        version=target.version,
        started_at=now,
        reason=reason,
        who=who,
        after=json.dumps({"base": base, "tag": tag, "main": main}),
    )
    return Rollback(build_id, target.name, base, tag, main, reason, who, now)


def pending_rollback(ref: TableRef) -> Rollback | None:
    """The last rollback that was begun, where no build record says that it was finished.

    One before it was overtaken by it; one before a `release-hold` was finished by that.
    """
    events = read_events(ref, "rollback", "release-hold")
    if not events or events[-1]["event"] == "release-hold":
        return None
    last = events[-1]
    after = json.loads(last["after"])
    if "abandoned" in after or read_builds(ref, last["build_id"]):
        return None
    return Rollback(
        build_id=last["build_id"],
        target=last["release"],
        base=after["base"],
        tag=after["tag"],
        main=after["main"],
        reason=last["reason"] or "",
        who=last["who"],
        started_at=last["started_at"],
    )


def restore(ref: TableRef, rollback: Rollback, *, insist: bool = False) -> Commit | None:
    """Commit the rollback, unless main holds it; returns its commit.

    Where its target may not be brought back any more, it is written down as abandoned and None is
    returned (the hold stays); with `insist` the reason is raised as `UsageError`.
    """
    dataset = open_main(ref)
    found = find_build(dataset, rollback.build_id, rollback.main)
    if found is not None:
        return restore_again(ref, read_commit(dataset, found))
    try:
        target = _vetted(ref, rollback)
    except UsageError as error:
        after = json.dumps({"abandoned": str(error)})
        append_event(ref, event="rollback", build_id=rollback.build_id, after=after)
        if insist:
            raise
        return None
    properties = {
        BUILD: rollback.build_id,
        ROLLBACK: target.name,
        MANIFEST: _manifest(ref, rollback, target).to_json(),
    }
    return restore_again(ref, _restore(ref, target.version, properties))


def restore_again(ref: TableRef, commit: Commit) -> Commit:
    """`commit`, or where another commit has its number, the same content with a higher one."""
    while collides(open_main(ref), commit):
        assert commit.restored is not None
        commit = _restore(ref, commit.restored, commit.properties)
    return commit


def collides(dataset: Any, commit: Commit) -> bool:
    """Whether a rollback's number was given to something that was committed while it was made."""
    number = release_number(commit)
    if commit.rollback_to is None or commit.read is None or number is None:
        return False
    between = [v for v in main_versions(dataset) if commit.read < v < commit.version]
    taken = (release_number(read_commit(dataset, version)) for version in between)
    return any(other is not None and other >= number for other in taken)


def _restore(ref: TableRef, version: int, properties: dict[str, str]) -> Commit:
    import lance
    from lance.dataset import LanceOperation, Transaction

    dataset = open_main(ref)
    properties = {**properties, RELEASE: str(_highest_number(dataset) + 1)}
    transaction = Transaction(
        dataset.version, LanceOperation.Restore(version), transaction_properties=properties
    )
    made = lance.LanceDataset.commit(dataset, transaction)
    return read_commit(made, made.version)


def _highest_number(dataset: Any) -> int:
    """The highest release number in use, tagged or only committed, undone commits too."""
    tags = read_tags(dataset)
    finished = release_versions(tags)
    floor = max(finished.values(), default=0)
    numbers = [*finished, *release_versions(_without_prefix(tags))]
    for version in main_versions(dataset):
        if version > floor:
            numbers.append(release_number(read_commit(dataset, version)) or 0)
    return max(numbers, default=0)


def _without_prefix(tags: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(DATA_PREFIX): tag for name, tag in tags.items()}


def _vetted(ref: TableRef, rollback: Rollback) -> Release:
    target, base = (tagged_release(ref, name) for name in (rollback.target, rollback.base))
    if target is None:
        raise UsageError(
            f"release {rollback.target}, which a rollback of {rollback.who} wants back, is gone; "
            "`vecmill versions` lists what there is: roll back to one of those"
        )
    vet_target(ref, target, base or target)
    return target


def _manifest(ref: TableRef, rollback: Rollback, target: Release) -> Manifest:
    """The target's manifest as that of a new build: its state, and what the way there changed.

    Nothing is embedded and no vector is written; rows count in the class that they had been in if
    a build had made the same change.
    """
    manifest = target.manifest
    standing = tagged_release(ref, rollback.base)
    now = datetime.now(UTC)
    counts = dict.fromkeys(("embedded", "reused"), 0)
    if standing is not None:
        changes = row_changes(
            open_version(ref, standing.version), open_version(ref, target.version)
        )
        classes = count_classes(changes)
        classes["rejudged"] += classes.pop("moved")
        counts |= {"new": classes.pop("added"), **classes}
    else:
        rows = manifest.counts.rows
        counts |= {"new": rows, "changed": 0, "metadata_only": 0, "rejudged": 0}
        counts |= {"unchanged": 0, "removed": 0}
    seconds = (now - rollback.started_at).total_seconds()
    return manifest.model_copy(
        update={
            "build_id": rollback.build_id,
            "release": None,
            "version": None,
            "published": False,
            "tag": rollback.tag,
            "base_release": rollback.base,
            "counts": manifest.counts.model_copy(update=counts),
            "timings": Timings(publish=seconds, total=seconds),
            "code_version": installed("vecmill"),
            "started_at": rollback.started_at,
            "finished_at": now,
        }
    )
