"""Removing old versions of a table with the files that nothing else needs.

Kept are: every tagged version; what is newer than the newest release; what is younger than the
oldest build under way, whose commit may be looked for there; and the versions that a tag has just
left, since readers that checked it out are still in them.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.table.dataset import STORAGE_VERSION, TableRef, open_main, read_tags, try_open
from tasks.table.releases import BASE_PREFIX, DATA_PREFIX, release_name, release_versions

GRACE = timedelta(minutes=10)
"""For how long readers keep the files of what they have open: more than a long query takes."""

FORGOTTEN_BASE = timedelta(days=7)
"""A base tag older than this holds nothing back: Lance itself removes uncommitted files after seven
days, so a build that takes longer cannot publish."""

COMPANION_FRAGMENTS = 16
"""Appends to a companion from which on they are merged into one file."""


@dataclass(frozen=True)
class Cleaned:
    """Versions that were removed, and the bytes that this freed."""

    versions: int
    freed: int


def oldest_base(ref: TableRef) -> datetime | None:
    """When the oldest build that has a base tag took it; None: there is none."""
    dataset = try_open(ref)
    now = datetime.now(UTC)
    begun = [
        tag["created_at"]
        for name, tag in ({} if dataset is None else read_tags(dataset)).items()
        if name.startswith(BASE_PREFIX) and now - tag["created_at"] < FORGOTTEN_BASE
    ]
    return min(begun, default=None)


def clean_table(ref: TableRef, since: datetime | None, grace: timedelta = GRACE) -> Cleaned:
    """Remove the versions of the space's table that nothing needs.

    `since`: when the oldest build under way began (None: nobody is at work).
    """
    dataset = open_main(ref)
    tags = read_tags(dataset)
    releases = release_versions(tags)
    if not releases:
        return Cleaned(0, 0)
    needed = {int(tag["version"]) for tag in tags.values()}
    left = _just_left(tags, releases, grace)
    old = [
        version["version"]
        for version in dataset.versions()
        if version["version"] < max(releases.values())
        and version["version"] not in needed
        and not any(version["version"] in versions for versions in left)
        and (since is None or _made_at(version) < since)
    ]
    return _clean(dataset, old)


def clean_companion(ref: TableRef, grace: timedelta = GRACE, ordered: bool = False) -> Cleaned:
    """Merge a companion's small files and remove its old versions. It has no tags of ours.

    `ordered`: it is a log, whose rows keep their order whoever appends meanwhile.
    """
    dataset = try_open(ref)
    if dataset is None:
        return Cleaned(0, 0)
    fragments = dataset.get_fragments()
    if len(fragments) > COMPANION_FRAGMENTS or any(f.num_deletions for f in fragments):
        if ordered:
            merge_in_order(ref, dataset)
        else:
            dataset.optimize.compact_files()
        dataset = open_main(ref)
    before = datetime.now(UTC) - grace
    versions = [v for v in dataset.versions() if v["version"] <= dataset.version]
    old = [  # whoever opened one before its successor came may still read it
        version["version"]
        for version, successor in itertools.pairwise(versions)
        if _made_at(successor) < before
    ]
    return _clean(dataset, old)


def merge_in_order(ref: TableRef, dataset: Any) -> None:
    """Write the rows of `dataset` into one file, before whatever is appended meanwhile.

    Lance orders fragments by number, and `compact_files` gives the merged one a number above that
    of an append in between: a hold that was just set would stand before its older release. Here
    the merged rows keep the last number that they had.
    """
    import lance
    from lance.dataset import LanceOperation, Transaction
    from lance.fragment import FragmentMetadata, write_fragments

    numbers = [fragment.fragment_id for fragment in dataset.get_fragments()]
    written = write_fragments(
        dataset.scanner(scan_in_order=True).to_reader(),
        dataset.uri,
        schema=dataset.schema,
        mode="append",
        data_storage_version=STORAGE_VERSION,
        storage_options=ref.options(),
    )
    kept = numbers[-len(written) :]
    merged = [
        FragmentMetadata.from_json(json.dumps({**made.to_json(), "id": number}))
        for number, made in zip(kept, written, strict=True)
    ]
    operation = LanceOperation.Update(
        removed_fragment_ids=numbers[: -len(written)],
        updated_fragments=merged,
        new_fragments=[],
        fields_modified=[],
        update_mode="rewrite_rows",
    )
    lance.LanceDataset.commit(dataset, Transaction(dataset.version, operation))


def _clean(dataset: Any, versions: list[int]) -> Cleaned:
    if not versions:
        return Cleaned(0, 0)
    # `delete_unverified` stays off: a build that began a moment ago has files that look so
    stats = dataset.cleanup_old_versions(versions=versions, error_if_tagged_old_versions=False)
    return Cleaned(stats.old_versions, stats.bytes_removed)


def _just_left(tags: dict[str, Any], releases: dict[int, int], grace: timedelta) -> list[range]:
    """The versions of releases whose tag was moved on less than `grace` ago."""
    now = datetime.now(UTC)
    found = []
    for number, version in releases.items():
        name = release_name(number)
        data = tags.get(f"{DATA_PREFIX}{name}")
        if data is not None and now - tags[name]["updated_at"] < grace:
            found.append(range(int(data["version"]), version + 1))
    return found


def _made_at(version: dict[str, Any]) -> datetime:
    """When the version was made; Lance gives the local time without its zone."""
    return version["timestamp"].astimezone(UTC)
