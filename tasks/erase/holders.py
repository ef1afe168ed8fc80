"""Where a table still holds the records: in which data files, versions and releases.

A release holds them not only in its rows. A row that left stays in its data file until that is
written anew, behind a deletion mark; an index keeps the words of rows that have left; and a
manifest may name a key in a verdict. So data files are read as they are, deletion marks or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks.erase.asked import Asked, names_key
from tasks.table.dataset import TableRef, open_version, read_tags, try_open
from tasks.table.history import read_commit
from tasks.table.releases import (
    BASE_PREFIX,
    DATA_PREFIX,
    RELEASE_TAG,
    read_manifest,
    release_name,
    release_versions,
)

POINTERS = ("id", "duplicate_of")
"""Columns in which a row names a record: its own, or the one that it is a copy of."""

ROWS_AT_ONCE = 65_536

TEXTS_HELD = 256
"""Texts of a data file that are kept, to search the disk for: the rows tell of the others."""


@dataclass(frozen=True)
class HeldFile:
    """What a data file holds of the records, deleted rows included. Text is null for images."""

    rows: int  # of the records
    pointers: int  # of others, which are marked as copies of them
    texts: tuple[str, ...]
    contents: frozenset[bytes]


@dataclass(frozen=True)
class HeldRelease:
    """A release to retire, and why: rows, deleted rows, index or manifest."""

    name: str
    version: int
    rows: int
    why: str


@dataclass(frozen=True)
class Holding:
    """What a table holds of the records. `strangers` are users' tags on versions that do."""

    files: dict[str, HeldFile]
    releases: tuple[HeldRelease, ...]
    strangers: dict[str, int]
    rows: int  # in the version that readers get
    records: int  # distinct ones, with rows in any file

    @property
    def texts(self) -> tuple[str, ...]:
        """Each text once."""
        return tuple(dict.fromkeys(text for file in self.files.values() for text in file.texts))

    @property
    def contents(self) -> frozenset[bytes]:
        """Content hashes of the records' rows."""
        return frozenset(h for file in self.files.values() for h in file.contents)


NOTHING = Holding({}, (), {}, 0, 0)


@dataclass(frozen=True)
class Version:
    """The files of one version of main."""

    number: int
    data: frozenset[str]
    indexed: bool


def versions_of(dataset: Any) -> list[Version]:
    """Every version that cleanup has left, oldest first."""
    files = pl.DataFrame(dataset.tracked_files().read_all().select(["version", "path", "type"]))
    found = []
    for number in sorted(files["version"].unique()):
        mine = files.filter(pl.col("version") == number)
        kind = mine["type"].cast(pl.String)
        found.append(
            Version(
                number,
                frozenset(mine.filter(kind == "data file")["path"]),
                bool((kind == "index file").any()),
            )
        )
    return found


def look(ref: TableRef, asked: Asked, tag: str) -> Holding:
    """Everything of the records in the table, in any version; `tag` is the one that moves."""
    dataset = try_open(ref)
    if dataset is None or "id" not in dataset.schema.names:
        return NOTHING
    versions = versions_of(dataset)
    places: set[str] = set()
    files = {}
    for path in sorted({path for version in versions for path in version.data}):
        held = read_held(ref, path, asked, places)
        if held.rows or held.pointers:
            files[path] = held
    holds = {version.number: bool(version.data & files.keys()) for version in versions}
    first = min((number for number, held in holds.items() if held), default=None)
    tags = read_tags(dataset)
    why = {
        version.number: _why(ref, version, holds[version.number], first, asked)
        for version in versions
        if any(tag["version"] == version.number for tag in tags.values())
    }
    named = names_key(key for _, key in asked.records)
    releases = []
    for number, version in release_versions(tags).items():
        data = tags.get(f"{DATA_PREFIX}{release_name(number)}", {}).get("version", version)
        rows, reason = why[version] if why[version][1] else why[data]
        reason = reason or ("manifest" if _manifest_names(dataset, data, named) else "")
        if reason:
            releases.append(HeldRelease(release_name(number), version, rows, reason))
    return Holding(
        files,
        tuple(releases),
        _strangers(tags, tag, {n for n, (_, reason) in why.items() if reason}),
        why[tags[tag]["version"]][0] if tag in tags else 0,
        len(places),
    )


def read_held(ref: TableRef, path: str, asked: Asked, places: set[str]) -> HeldFile:
    """What the data file at `path` holds, physically; the records found are added to `places`."""
    rows = pointers = 0
    texts: list[str] = []
    contents: set[bytes] = set()
    for frame in read_file(ref, path, [*POINTERS, "content_hash", "text"]):
        own = asked.named(frame["id"])
        rows += int(own.sum())
        pointers += int((asked.named(frame["duplicate_of"]) & ~own).sum())
        mine = frame.filter(own)
        places.update(mine["id"].str.splitn("#", 2).struct.field("field_0"))
        texts += mine["text"].drop_nulls().head(TEXTS_HELD - len(texts)).to_list()
        contents.update(mine["content_hash"].drop_nulls())
    return HeldFile(rows, pointers, tuple(texts), frozenset(contents))


def read_file(ref: TableRef, path: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Rows of a data file as it lies there, deleted ones too."""
    from lance.file import LanceFileReader

    reader = LanceFileReader(f"{ref.path}/{path}", storage_options=ref.options(), columns=columns)
    for batch in reader.read_all(batch_size=ROWS_AT_ONCE).to_batches():
        yield pl.DataFrame(batch)


def _why(
    ref: TableRef, version: Version, holds: bool, first: int | None, asked: Asked
) -> tuple[int, str]:
    """Rows of the records in a version, and in which way it holds them; "" for not at all."""
    if holds:
        dataset = open_version(ref, version.number)
        found = pl.DataFrame(dataset.to_table(columns=list(POINTERS)))
        rows = int(asked.named(found["id"]).sum())
        if rows or asked.named(found["duplicate_of"]).any():
            return rows, "rows"
        return 0, "deleted rows"
    if version.indexed and first is not None and version.number > first:
        return 0, "index"
    return 0, ""


def _manifest_names(dataset: Any, version: int, named: Any) -> bool:
    manifest = read_manifest(read_commit(dataset, version))
    return manifest is not None and any(named.search(audit.detail) for audit in manifest.audits)


def _strangers(tags: dict[str, Any], moving: str, held: set[int]) -> dict[str, int]:
    """Users' own tags on versions that hold something."""
    return {
        name: int(tag["version"])
        for name, tag in tags.items()
        if tag["version"] in held
        and name != moving
        and not RELEASE_TAG.match(name)
        and not name.startswith((BASE_PREFIX, DATA_PREFIX))
    }
