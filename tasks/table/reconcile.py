"""Finishing what is committed: index, release tags, and `prod` on the newest release.

A build's commit on main is a release from that moment, whoever made it and wherever it was
killed. `reconcile` finds such commits and finishes them; it may run twice, or twice at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from schemas.errors import VecmillError
from tasks.table.dataset import TableRef, create_tag, open_main, read_tags, try_open
from tasks.table.history import (
    Commit,
    StrangerError,
    main_versions,
    read_commit,
    refuse_stranger,
    walk,
)
from tasks.table.index import build_indexes, index_rule
from tasks.table.releases import (
    DATA_PREFIX,
    Release,
    committed_release,
    release_name,
    release_number,
    release_versions,
    tagged_release,
)
from tasks.table.rollback import Rollback, collides, pending_rollback, restore, restore_again

TAG_ROUNDS = 20
"""Times that a tag is moved again because another builder moved it in between."""


def reconcile(ref: TableRef, tag: str, held: bool = False) -> Release | None:
    """Finish every build committed on main since the release that `tag` names; return the newest.

    Returns None where nothing is published yet. Raises `StrangerError` when something other than
    vecmill changed the rows. While the space is `held` no build is finished; a rollback is, since
    the hold that it begins with is its own.
    """
    if try_open(ref) is None:
        return None
    if (begun := pending_rollback(ref)) is not None:
        with _turn(ref):
            restore(ref, begun)
    for commit in reversed(_unfinished(open_main(ref), tag)):
        if held and commit.rollback_to is None:
            break
        _finish(ref, commit)
    if (not held or _newest_is_rollback(ref)) and release_versions(read_tags(open_main(ref))):
        move_tag(ref, tag)
    return tagged_release(ref, tag)


def would_stand(ref: TableRef, tag: str, held: bool = False) -> Release | None:
    """The release that `reconcile` would return, without writing anything: for a dry run.

    A build that is committed but not finished counts as it is, without its index. A rollback that
    was only begun does not count: it holds the space, so nothing would be published anyway.
    """
    dataset = try_open(ref)
    if held or dataset is None:
        return tagged_release(ref, tag)
    if unfinished := _unfinished(dataset, tag):
        return committed_release(unfinished[0])
    newest = max(release_versions(read_tags(dataset)), default=None)
    return None if newest is None else tagged_release(ref, release_name(newest))


def finish_rollback(ref: TableRef, rollback: Rollback) -> Release:
    """Restore what the rollback asks for, unless that is done, and finish it as a release.

    Raises `UsageError` where its target may not be brought back any more.
    """
    with _turn(ref):
        commit = restore(ref, rollback, insist=True)
    assert commit is not None
    commit = _finish(ref, commit)
    return _finished(ref, commit, rollback.tag)


def finish(ref: TableRef, data_version: int, tag: str) -> Release:
    """Index and tag the release that was committed at `data_version`; move `tag` forwards."""
    commit = _finish(ref, read_commit(open_main(ref), data_version))
    return _finished(ref, commit, tag)


def _finished(ref: TableRef, commit: Commit, tag: str) -> Release:
    move_tag(ref, tag)
    number = release_number(commit)
    release = tagged_release(ref, release_name(number)) if number else None
    if release is None:
        raise VecmillError(f"{ref.path}: version {commit.version} is no build's commit")
    return release


def _newest_is_rollback(ref: TableRef) -> bool:
    """Whether the newest finished release is a rollback: `prod` belongs on it though held."""
    dataset = open_main(ref)
    tags = read_tags(dataset)
    number = max(release_versions(tags), default=0)
    data = tags.get(f"{DATA_PREFIX}{release_name(number)}")
    return data is not None and read_commit(dataset, int(data["version"])).rollback_to is not None


def move_tag(ref: TableRef, tag: str) -> int:
    """Put `tag` on the newest release; returns the version it is on.

    `tags.update` has no compare-and-swap. Builders on one machine take turns; across machines
    whoever wrote last looks again and finds the newer release, whose own tag came first.
    """
    if (version := _moved(ref, tag)) is not None:
        return version
    with _turn(ref):
        for _ in range(TAG_ROUNDS):
            if (version := _moved(ref, tag)) is not None:
                return version
            dataset = open_main(ref)
            tags = read_tags(dataset)
            newest = max(release_versions(tags).values())
            if tag in tags:
                dataset.tags.update(tag, newest)
            else:
                create_tag(dataset, tag, newest)  # or another builder did meanwhile
    raise VecmillError(
        f"{ref.path}: tag {tag!r} was moved away {TAG_ROUNDS} times by another writer, expected "
        "it on the newest release; see what else moves it and run again"
    )


def _moved(ref: TableRef, tag: str) -> int | None:
    """The version that `tag` is on, if that is the newest release's."""
    tags = read_tags(open_main(ref))
    newest = max(release_versions(tags).values())
    return newest if tag in tags and tags[tag]["version"] == newest else None


def _unfinished(dataset: Any, tag: str) -> list[Commit]:
    """Builds on main above the newest finished release, newest first; strangers are refused."""
    tags = read_tags(dataset)
    releases = release_versions(tags)
    floor = max(releases.values(), default=0)
    found: list[Commit] = []
    last: Commit | None = None
    for last in walk(dataset, floor):
        refuse_stranger(dataset, last, tag)
        if last.build_id is not None:
            found.append(last)
        by_hand = last.rollback_to is None
        if by_hand and last.restored is not None and last.restored < floor:
            _refuse_old_restore(dataset, last, tags, max(releases))
    if floor == 0 and last is not None and not (last.created or last.build_id):
        raise StrangerError(
            f"{dataset.uri}: a table of that name exists and vecmill did not make it (its first "
            f"version is of kind {last.kind}); choose another `space`, or another `uri`"
        )
    return found


def _refuse_old_restore(dataset: Any, commit: Commit, tags: dict[str, Any], number: int) -> None:
    """Refuse a restore by hand of rows older than those of the newest release."""
    name = release_name(number)
    data = tags.get(f"{DATA_PREFIX}{name}")
    if data is not None and data["version"] <= (commit.restored or 0):
        return  # the newest release before its index: the same rows
    raise StrangerError(
        f"{dataset.uri}: version {commit.version} restored version {commit.restored}, which is "
        f"older than the newest release {name}, expected main to hold that; roll back with "
        f"`vecmill rollback`, or restore {name} and build again"
    )


def _finish(ref: TableRef, commit: Commit) -> Commit:
    """Data tag, indexes, release tag, in this order: each step may have been done already.

    Returns the commit that is the release now: a rollback whose number another build has is
    restored again first.
    """
    if collides(open_main(ref), commit):
        with _turn(ref):
            commit = restore_again(ref, commit)
    release = committed_release(commit)
    name, manifest = release.name, release.manifest
    dataset = open_main(ref)
    _create_tag(dataset, f"{DATA_PREFIX}{name}", commit.version)
    if name not in read_tags(dataset):
        if last_with_same_rows(dataset, commit.version) == dataset.latest_version:
            build_indexes(ref, index_rule(manifest))
        dataset = open_main(ref)
        finished = last_with_same_rows(dataset, commit.version)
        create_tag(dataset, name, finished)  # or another finisher, with fewer index commits
    return commit


def _create_tag(dataset: Any, name: str, version: int) -> None:
    standing = create_tag(dataset, name, version)
    if standing != version:
        raise VecmillError(
            f"{dataset.uri}: tag {name!r} is on version {standing}, expected {version}; "
            "somebody moved it: put it back, or delete it"
        )


def last_with_same_rows(dataset: Any, version: int) -> int:
    """The newest version above `version` with only harmless commits in between.

    A build that another process committed meanwhile is not of this release.
    """
    last = version
    for number in main_versions(dataset):
        if number > version:
            if not read_commit(dataset, number).harmless:
                break
            last = number
    return last


@contextlib.contextmanager
def _turn(ref: TableRef) -> Iterator[None]:
    """One mover of tags at a time on this machine; the system frees a dead process's lock."""
    if ref.local is None:
        yield
        return
    import fcntl

    with ref.local.with_name(f".{ref.space}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
