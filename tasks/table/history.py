"""Main's history as vecmill reads it: which versions carry a build, and which a stranger wrote.

Commit(version, kind, properties)   one version's transaction
walk(dataset, floor)                versions above `floor`, newest first, restores resolved
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import VecmillError
from tasks.table.dataset import CREATED, read_tags

BUILD = "vecmill.build_id"
RELEASE = "vecmill.release"
MANIFEST = "vecmill.manifest"
ROLLBACK = "vecmill.rollback"
"""Of a rollback's commit: the name of the release whose content it brought back."""

HARMLESS = frozenset({"CreateIndex", "Rewrite", "UpdateConfig", "BaseOperation"})
"""Operations that leave the rows as they are: indexes, compaction (which also reserves
fragments: a `BaseOperation`), settings. Anybody may make them."""


class StrangerError(VecmillError):
    """Something that is not vecmill changed the rows of main."""


def is_conflict(error: Exception) -> bool:
    """Whether Lance refused a commit because of another one.

    By message: a conflict is a CommitConflictError from `commit`, an OSError from
    `optimize_indices`, and "Incompatible transaction" after a restore.
    """
    text = str(error).lower()
    return "commit conflict" in text or "incompatible transaction" in text


@dataclass(frozen=True)
class Commit:
    """One version of main, by the transaction that made it."""

    version: int
    kind: str
    properties: dict[str, str] = field(default_factory=dict)
    restored: int | None = None  # the version whose content a Restore brought back
    read: int | None = None  # main's version when the transaction was made

    @property
    def build_id(self) -> str | None:
        """The build that made it, if vecmill did."""
        return self.properties.get(BUILD)

    @property
    def rollback_to(self) -> str | None:
        """The release whose content it brought back, if vecmill rolled back by it."""
        return self.properties.get(ROLLBACK)

    @property
    def harmless(self) -> bool:
        """Whether the rows are as they were in the version before."""
        return self.kind in HARMLESS

    @property
    def created(self) -> bool:
        """Whether it is the empty table that vecmill starts from."""
        return CREATED in self.properties


def read_commit(dataset: Any, version: int) -> Commit:
    """The transaction that made `version` (detached ones too)."""
    try:
        transaction = dataset.read_transaction(version)
    except TypeError as error:
        # pylance 13 cannot build the object of a compaction that rewrote indexes
        if "RewrittenIndex" not in str(error):
            raise
        return Commit(version, "Rewrite")
    if transaction is None:
        return Commit(version, "unknown")
    operation = transaction.operation
    kind = type(operation).__name__
    properties = dict(transaction.transaction_properties or {})
    restored = operation.version if kind == "Restore" else None
    return Commit(version, kind, properties, restored, transaction.read_version)


def main_versions(dataset: Any) -> list[int]:
    """The versions of main that cleanup has left, oldest first."""
    return sorted(ref["version"] for ref in dataset.version_refs())


def walk(dataset: Any, floor: int, top: int | None = None) -> Iterator[Commit]:
    """Commits above `floor` that made main's content at `top` (the latest), newest first.

    A restore is yielded and then stands for what it restored: the versions it undid are left out.
    """
    ceiling = dataset.latest_version if top is None else top
    for version in reversed(main_versions(dataset)):
        if not floor < version <= ceiling:
            continue
        commit = read_commit(dataset, version)
        yield commit
        ceiling = commit.restored if commit.restored is not None else version - 1


def find_build(dataset: Any, build_id: str, since: int) -> int | None:
    """The version of main above `since` that the build committed, or None."""
    for version in reversed(main_versions(dataset)):
        if version <= since:
            break
        if read_commit(dataset, version).build_id == build_id:
            return version
    return None


def refuse_stranger(dataset: Any, commit: Commit, tag: str) -> None:
    """Raise `StrangerError` unless the commit is vecmill's or left the rows alone."""
    if commit.harmless or commit.build_id is not None or commit.created:
        return
    if commit.restored is not None:
        return  # the walk goes on below what it restored
    if tag in read_tags(dataset):
        way_on = (
            f"Readers of {tag!r} do not see them. Put the table back with "
            f"`lance.dataset({dataset.uri!r}, version={tag!r}).restore()` and build again"
        )
    else:
        way_on = (
            "Nothing is published there yet: choose another `space` or `uri`, or drop the table"
        )
    raise StrangerError(
        f"{dataset.uri}: version {commit.version} was written by something other than vecmill "
        f"({commit.kind}), expected only builds and index or compaction commits; its rows were "
        f"never audited. {way_on}"
    )
