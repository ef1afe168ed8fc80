"""Releases: published versions with a tag of their own, and what their manifests say.

Tags of a table:
    v0007        the finished version of release 7 (its index included)
    data-v0007   the commit that carries its manifest; cleanup would take it without a tag
    prod         (`publish.tag`) moves to each new release
    base-…       a build's base while it runs; internal
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.errors import VecmillError
from schemas.manifest import Manifest
from tasks.table.dataset import TableRef, read_tags, try_open
from tasks.table.history import MANIFEST, RELEASE, Commit, read_commit, walk

RELEASE_TAG = re.compile(r"^v(\d{4,})$")
BASE_PREFIX = "base-"
DATA_PREFIX = "data-"


@dataclass(frozen=True)
class Release:
    """A published version. `tags` are those on it, apart from internal ones."""

    number: int
    name: str
    version: int
    data_version: int
    manifest: Manifest
    tags: tuple[str, ...]
    at: datetime
    rollback_to: str | None = None  # the release whose content it brought back


def release_name(number: int) -> str:
    """`v0007` for 7."""
    return f"v{number:04d}"


def number_of(name: str) -> int:
    """7 for `v0007`; raises `ValueError` for what names no release."""
    match = RELEASE_TAG.match(name)
    if match is None:
        raise ValueError(f"{name!r} names no release; expected v0001, v0002 and so on")
    return int(match[1])


def release_versions(tags: dict[str, Any]) -> dict[int, int]:
    """Release number → finished version, from `read_tags`."""
    found = {}
    for name, tag in tags.items():
        if match := RELEASE_TAG.match(name):
            found[int(match[1])] = int(tag["version"])
    return dict(sorted(found.items()))


def read_manifest(commit: Commit) -> Manifest | None:
    """The manifest in a commit's properties as the build wrote it, or None."""
    text = commit.properties.get(MANIFEST)
    return None if text is None else Manifest.from_json(text)


def release_number(commit: Commit) -> int | None:
    """The number of the release that a commit is, or None where it is none."""
    text = commit.properties.get(RELEASE)
    return None if text is None else int(text)


def list_releases(ref: TableRef) -> list[Release]:
    """Every release that has its tag, oldest first; `[]` where there is no table."""
    dataset = try_open(ref)
    if dataset is None:
        return []
    tags = read_tags(dataset)
    return [_release(dataset, tags, number) for number in release_versions(tags)]


def tagged_release(ref: TableRef, tag: str) -> Release | None:
    """The release that `tag` (`prod`, `v0007`) names, or None where table or tag is missing."""
    dataset = try_open(ref)
    if dataset is None:
        return None
    tags = read_tags(dataset)
    if tag not in tags:
        return None
    number = release_at(tags, int(tags[tag]["version"]))
    if number is None:
        version = tags[tag]["version"]
        raise VecmillError(
            f"{dataset.uri}: tag {tag!r} is on version {version}, which is no release of vecmill "
            f"(releases: none up to there); move the tag to a release or delete it"
        )
    return _release(dataset, tags, number)


def committed_release(commit: Commit) -> Release:
    """The release that a build's commit is, tagged or not. Raises `VecmillError` for another's."""
    number, manifest = release_number(commit), read_manifest(commit)
    if number is None or manifest is None:
        raise VecmillError(
            f"version {commit.version} is of build {commit.build_id} but carries no release number "
            "and manifest; a newer vecmill may have written it: upgrade"
        )
    name = release_name(number)
    made = {"release": name, "version": commit.version, "published": True}
    return Release(
        number=number,
        name=name,
        version=commit.version,
        data_version=commit.version,
        manifest=manifest.model_copy(update=made),
        tags=(),
        at=manifest.finished_at or manifest.started_at,
        rollback_to=commit.rollback_to,
    )


def release_at(tags: dict[str, Any], version: int) -> int | None:
    """The number of the release whose rows `version` holds, as far as tags tell; None: of none.

    From its commit to its finished version a release has the same rows; `maintain` moves the
    finished version on to a compacted one.
    """
    finished = release_versions(tags)
    for number, at in finished.items():
        data = tags.get(f"{DATA_PREFIX}{release_name(number)}")
        if data is not None and int(data["version"]) <= version <= at:
            return number
    return max((number for number, at in finished.items() if at <= version), default=None)


def manifest_of(ref: TableRef, version: int) -> Manifest | None:
    """The manifest of the release whose content main had at `version`; None where it has none."""
    dataset = try_open(ref)
    if dataset is None:
        return None
    tags = read_tags(dataset)
    for number, finished in release_versions(tags).items():
        data = tags.get(f"{DATA_PREFIX}{release_name(number)}")
        if data is not None and int(data["version"]) <= version <= finished:
            return _release(dataset, tags, number).manifest
    if version > dataset.latest_version:  # detached: a candidate carries no manifest
        return None
    for commit in walk(dataset, 0, version):
        if (manifest := read_manifest(commit)) is not None:
            return manifest.model_copy(update={"version": version})
        if not commit.harmless:
            return None
    return None


def _release(dataset: Any, tags: dict[str, Any], number: int) -> Release:
    name = release_name(number)
    version = int(tags[name]["version"])
    data = tags.get(f"{DATA_PREFIX}{name}")
    commit = read_commit(dataset, int(data["version"])) if data else None
    manifest = read_manifest(commit) if commit else None
    if commit is None or manifest is None:
        raise VecmillError(
            f"{dataset.uri}: release {name} has no manifest: expected the tag "
            f"'{DATA_PREFIX}{name}' on the commit that carries it; put the tag back, or delete "
            f"the tag {name!r} to forget the release"
        )
    return Release(
        number=number,
        name=name,
        version=version,
        data_version=commit.version,
        manifest=manifest.model_copy(
            update={"release": name, "version": version, "published": True}
        ),
        tags=tuple(
            sorted(
                tag
                for tag, at in tags.items()
                if commit.version <= at["version"] <= version and not tag.startswith(BASE_PREFIX)
            )
        ),
        at=tags[name]["created_at"],
        rollback_to=commit.rollback_to,
    )
