"""Upkeep of a space's tables: one step after the other, each harmless to be killed in or after.

    finish    reconcile; the newest release's tag on the newest version with the same rows
    retire    tags of releases that need not stay
    index     many pieces merged, an outgrown index trained again
    compact   some fragments rewritten; the newest release's tag and the moving one follow
    clean     versions that nothing needs, with their files
    beside    rejects of old builds out; companions merged and cleaned

Readers by tag find the same rows before and after each of them. A build under way that was planned
from a version before the compaction conflicts with it and plans again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import polars as pl

from schemas.manifest import Manifest
from tasks.table.build_log import recorded_builds
from tasks.table.cleanup import GRACE, Cleaned, clean_companion, clean_table
from tasks.table.clusters import trim_clusters
from tasks.table.compaction import Compacted, compact
from tasks.table.companions import current_hold, judging_builds, sql_string
from tasks.table.dataset import TableRef, open_main, read_tags, try_open
from tasks.table.fits import trim_fits
from tasks.table.history import is_conflict
from tasks.table.index import build_indexes, index_rule, tidy_indexes
from tasks.table.reconcile import last_with_same_rows, move_tag, reconcile
from tasks.table.releases import list_releases, release_at, release_name, release_versions
from tasks.table.retention import retire
from tasks.table.transaction import release_base, take_base

TRIES = 3
"""Tries of a step that a build's commit came in between of."""

REJECTS_OF_BUILDS = 50
"""Newest builds whose rejects stay, whether they published or not: what people still look at."""

UNRECORDED = timedelta(days=7)
"""Age of rejects whose build never wrote its record, from which on it is not under way any more."""

COMPANIONS = ("builds", "rejects", "fits", "clusters")

T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """What an upkeep is asked for. `since`: when the oldest build under way began."""

    tag: str
    keep: int | None
    since: datetime | None = None
    grace: timedelta = GRACE


@dataclass
class Upkeep:
    """What was done to the tables, and why something was not (`left`)."""

    retired: list[str] = field(default_factory=list)
    releases: int = 0
    indexes: list[str] = field(default_factory=list)
    compacted: Compacted | None = None
    versions_removed: int = 0
    rejects_removed: int = 0
    fits_removed: int = 0
    left: list[str] = field(default_factory=list)


def maintain_tables(ref: TableRef, name: str, rules: Rules, check: Callable[[], None]) -> Upkeep:
    """Everything in the order above; `name` is the upkeep's lease, `check` raises where it is lost.

    Raises `StrangerError` where something other than vecmill changed the rows.
    """
    done = Upkeep()
    held = current_hold(ref) is not None
    if reconcile(ref, rules.tag, held) is not None:
        advance(ref, rules.tag)
        done.retired = retire(ref, rules.keep, rules.grace, check)
        if _at_rest(ref):
            _rewrite(ref, name, rules, done, check)
        else:
            done.left.append(
                "indexes and compaction: main holds a build that is not finished yet"
                + (", and the space is held" if held else "; run again when it has ended")
            )
        check()
        done.versions_removed = clean_table(ref, rules.since, rules.grace).versions
        done.releases = len(release_versions(read_tags(open_main(ref))))
    check()
    done.rejects_removed = _tried(lambda: trim_rejects(ref, rules.since), done, "old rejects") or 0
    done.fits_removed = _tried(lambda: trim_old_fits(ref, rules.since), done, "old fits") or 0
    _tried(lambda: trim_old_clusters(ref, rules.since), done, "old clusters")
    for beside in COMPANIONS:
        cleaned = _tried(
            lambda beside=beside: clean_companion(
                ref.companion(beside), rules.grace, beside == "builds"
            ),
            done,
            beside,
        )
        done.versions_removed += (cleaned or Cleaned(0, 0)).versions
    return done


def advance(ref: TableRef, tag: str) -> None:
    """Put the newest release's tag on the newest version with its rows, and `tag` with it.

    `tag` is moved where it names that release already; elsewhere a hold keeps it.
    """
    dataset = open_main(ref)
    tags = read_tags(dataset)
    releases = release_versions(tags)
    if not releases:
        return
    number = max(releases)
    newest = last_with_same_rows(dataset, releases[number])
    follows = tag in tags and release_at(tags, int(tags[tag]["version"])) == number
    if newest != releases[number]:
        dataset.tags.update(release_name(number), newest)
    if follows:
        move_tag(ref, tag)


def trim_rejects(ref: TableRef, since: datetime | None = None) -> int:
    """Drop the rejects of builds that are neither a release that is kept nor among the newest.

    Those that the next build takes attempts over from stay, however many were refused since, and
    the builds' records stay. Rejects without a record may be of a build under way: they stay until
    they are older than any of those. Returns how many rows went.
    """
    dataset = try_open(ref.companion("rejects"))
    if dataset is None:
        return 0
    recorded = recorded_builds(ref)
    kept = {release.manifest.build_id for release in list_releases(ref)}
    kept |= {*recorded[-REJECTS_OF_BUILDS:], *judging_builds(ref)}
    before = min(datetime.now(UTC) - UNRECORDED, since or datetime.now(UTC))
    found = pl.DataFrame(dataset.to_table(columns=["build_id", "at"]))
    builds = found.group_by("build_id").agg(pl.col("at").max()).iter_rows()
    known = set(recorded)
    gone = sorted(b for b, at in builds if b not in kept and (b in known or at < before))
    if not gone:
        return 0
    dataset.delete(f"build_id IN ({', '.join(map(sql_string, gone))})")
    return found.height - open_main(ref.companion("rejects")).count_rows()


def stored_bytes(ref: TableRef) -> int | None:
    """Bytes of the table's folder; None where it is not on this machine's file system."""
    if ref.local is None:
        return None
    return folder_bytes(ref.local)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`, those that vanish meanwhile left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def trim_old_fits(ref: TableRef, since: datetime | None = None) -> int:
    """Drop the fits that no release names; returns how many.

    One that is not named yet may be of a build under way: it stays until it is older than those.
    """
    named = {release.manifest.fit_id for release in list_releases(ref)}
    before = min(datetime.now(UTC) - UNRECORDED, since or datetime.now(UTC))
    return trim_fits(ref, {fit for fit in named if fit is not None}, before)


def trim_old_clusters(ref: TableRef, since: datetime | None = None) -> int:
    """Drop the clusters of builds that no release is of; returns how many rows."""
    kept = {release.manifest.build_id for release in list_releases(ref)}
    return trim_clusters(ref, kept, min(datetime.now(UTC) - UNRECORDED, since or datetime.now(UTC)))


def _at_rest(ref: TableRef) -> bool:
    """Whether main holds the newest release's rows: nothing is to be finished."""
    dataset = open_main(ref)
    releases = release_versions(read_tags(dataset))
    newest = max(releases.values())
    return last_with_same_rows(dataset, newest) == dataset.latest_version


def _rewrite(
    ref: TableRef, name: str, rules: Rules, done: Upkeep, check: Callable[[], None]
) -> None:
    """Indexes and compaction, under a base tag: who sweeps in another `workdir` sees that alone."""
    manifest = _newest_manifest(ref)
    check()
    take_base(ref, name)
    try:
        build_indexes(ref, index_rule(manifest))
        # first, so that the compaction knows how much of the old indexes older releases hold now
        done.indexes = _tried(lambda: tidy_indexes(ref), done, "indexes") or []
        advance(ref, rules.tag)
        check()
        done.compacted = _tried(lambda: compact(ref), done, "compaction")
        advance(ref, rules.tag)
    finally:
        release_base(ref, name)


def _newest_manifest(ref: TableRef) -> Manifest:
    return list_releases(ref)[-1].manifest


def _tried(step: Callable[[], T], done: Upkeep, name: str) -> T | None:
    """What `step` returns; None, and a line in `left`, where builds were faster each time."""
    for _ in range(TRIES):
        try:
            return step()
        except Exception as error:
            if not is_conflict(error):
                raise
    done.left.append(f"{name}: {TRIES} times a build committed in between; run again")
    return None
