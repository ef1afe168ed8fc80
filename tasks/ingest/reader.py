"""One protocol for everything that turns a source file into records.

    FileRef ── Reader.read ──> RawBatch, RawBatch, …      (in file order)

A reader yields what it can read and rejects what it cannot, one record at a time lost; `read_part`
numbers the rows, judges keys, texts, times and column types (`record_checks`) and writes. So a
reader of one's own is a class of some thirty lines: install it under the entry point group
`vecmill.readers` (any name, the value an object or a class without arguments).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
import pyarrow as pa

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from schemas.spec import SourceSpec

ENTRY_POINTS = "vecmill.readers"


@dataclass(frozen=True)
class Rejected:
    """One record that a reader could not read.

    `place` counts the batch's records from 0, rejected ones too; `position` is the line (from 1)
    or the table row (from 0) in the file, None where the file is the record.
    """

    place: int
    reason: Reason
    detail: str
    key: str | None = None
    position: int | None = None
    uri: str | None = None  # None: the file's


@dataclass(frozen=True)
class RawBatch:
    """The next `met` records of a file: `len(records) + len(rejects) == met`, each place once.

    `records` has the column `key` and what the reader knows of `uri` (default: the file's),
    `text` (or `text_0`, `text_1`… for the columns that are joined), `locator`, `content_hash`,
    `size`, `width`, `height`, `time`, `thumbnail`, and the user's columns under their names in
    the table, all in the types that the file has. What is left out is null.
    """

    met: int
    records: pa.RecordBatch
    rejects: tuple[Rejected, ...] = ()
    places: np.ndarray | None = None  # int64 (n,): places of `records`; None: 0, 1, 2…
    positions: np.ndarray | None = None  # int64 (n,): line or row of `records` in the file


class UnreadableError(Exception):
    """The file cannot be opened or breaks off here: one reject; what was yielded before stays.

    `reason` is `unreadable-file` unless something more exact is known.
    """

    def __init__(self, detail: str, reason: Reason = Reason.UNREADABLE_FILE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason


class Reader(Protocol):
    """Reads the files of one kind whose names end in one of `suffixes`."""

    kind: str  # text | image
    suffixes: tuple[str, ...]  # lower case, with the dot; the longest match wins
    many: bool  # a file holds many records and is a part of its own; False: it is one record,
    # and the file's key is the record's
    has_columns: bool  # `key`, `columns` and `time` of the source can name something in the file
    needs: tuple[str, ...]  # fields of the SourceSpec that this format cannot do without

    def columns(self, file: FileRef, options: dict[str, object]) -> pa.Schema | None:
        """Names and types of the file's columns, from its head; None: it has or shows none.

        Raises `UnreadableError` where the head cannot be read.
        """

    def read(self, file: FileRef, part: PartSpec, options: dict[str, object]) -> Iterator[RawBatch]:
        """The file's records in order, bounded in memory, never raising for one bad record.

        `options` are the storage options for `tasks.store.opening.open_uri`. Raises
        `UnreadableError` (or an `OSError`) where the file breaks off.
        """


BUILT_IN = {
    "text": (
        "tasks.ingest.parquet:PARQUET",
        "tasks.ingest.delimited:CSV",
        "tasks.ingest.delimited:TSV",
        "tasks.ingest.lines:JSONL",
        "tasks.ingest.documents:PLAIN",
        "tasks.ingest.documents:MARKDOWN",
        "tasks.ingest.documents:HTML",
    ),
    "image": (
        "tasks.ingest.images:IMAGES",
        "tasks.ingest.webdataset:WEBDATASET",
        "tasks.ingest.image_table:IMAGE_TABLE",
    ),
}
"""Named, not imported: a text source loads no picture library."""


@lru_cache
def readers(kind: str) -> tuple[Reader, ...]:
    """Every reader of that kind: installed ones first, so that they may take a suffix over."""
    found: list[Reader] = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: (e.name, e.value)):
        loaded = entry.load()
        found.append(loaded() if isinstance(loaded, type) else loaded)
    for place in BUILT_IN[kind]:
        module, name = place.split(":")
        found.append(getattr(import_module(module), name))
    return tuple(reader for reader in found if reader.kind == kind)


def reader_for(name: str, kind: str) -> Reader | None:
    """The reader for a file of that name, by its longest known ending; None: nobody knows it."""
    lower = name.lower()
    known = [(len(s), r) for r in readers(kind) for s in r.suffixes if lower.endswith(s)]
    return max(known, key=lambda pair: pair[0], default=(0, None))[1]


def source_columns(source: SourceSpec) -> tuple[str, ...]:
    """The names that the source reads from a file with columns, each once, in a fixed order."""
    named = [source.key, *source.text, source.image, source.time]
    named += [column.name for column in source.columns]
    return tuple(dict.fromkeys(name for name in named if name is not None))
