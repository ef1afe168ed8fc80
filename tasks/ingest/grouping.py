"""Files grouped into parts: the unit that is read, cached and read again when a file changes.

A file of many records is a part of its own. Files of one record are grouped in listing order; a
group ends behind a file whose key hashes low enough, so that a file added, removed or edited
changes its own group and leaves the borders of the others where they were (content-defined
chunking; fixed-size groups would all shift). The chance of a border grows with the file's size:
some 256 files or 64 MB a group, four times as much at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.identity import digest_bytes
from schemas.refs import FileRef
from tasks.ingest.reader import reader_for

GROUP_FILES = 256
GROUP_BYTES = 64 * 1024 * 1024
AT_MOST = 4
"""A group's hard limits, as a multiple of its usual size."""


def group_files(files: Iterable[FileRef], kind: str) -> Iterator[tuple[FileRef, ...]]:
    """The files in order, cut into groups."""
    group: list[FileRef] = []
    size = 0
    for file in files:
        if holds_many(file, kind):
            if group:
                yield tuple(group)
            yield (file,)
            group, size = [], 0
            continue
        group.append(file)
        size += file.size
        full = len(group) >= AT_MOST * GROUP_FILES or size >= AT_MOST * GROUP_BYTES
        if full or _ends_group(file):
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def holds_many(file: FileRef, kind: str) -> bool:
    """Whether the file is read as a table or an archive of records."""
    if file.problem is not None:
        return False
    reader = reader_for(file.uri, kind)
    return reader is not None and reader.many


def _ends_group(file: FileRef) -> bool:
    chance = max(1 / GROUP_FILES, file.size / GROUP_BYTES)
    return int.from_bytes(digest_bytes(file.key.encode())[:8]) < chance * 2**64
