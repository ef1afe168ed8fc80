"""Read one part of a source into the `workdir`: its usable records, and its rejects beside them.

    part ─ each file ─ Reader.read ─ judge ─> records/<digest>.parquet
                                        └──> rejects/ingest-<digest>.parquet

The rejects are put in place first: the records file's existence says that both are whole. `row`
numbers every record of the part in (file, row) order, rejected ones too, so that in each part
records + rejects = records met. What was forgotten is left out before anything of it is written.

A file that has gone since it was listed is a reject of this build alone: a part without some of its
files has a digest of its own, and when they are back as they were it is read again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import records_schema
from schemas.errors import VecmillError
from schemas.identity import digest_file, digest_json
from schemas.progress import SILENT, Progress
from schemas.reasons import MEANING, Reason
from schemas.refs import FileRef, PartSpec, RecordsPart, RejectsRef
from tasks.ingest.column_types import arrow_type
from tasks.ingest.forgotten import leave_out, read_hashes
from tasks.ingest.grouping import holds_many
from tasks.ingest.reader import RawBatch, Rejected, UnreadableError, reader_for
from tasks.ingest.readings import (
    Reading,
    draft_reading,
    first_reading,
    keep_reading,
    standing_reading,
)
from tasks.ingest.record_checks import judge
from tasks.ingest.tabular import no_records
from tasks.store.opening import resolve_options, without_values
from tasks.store.workdir import ROWS_PER_GROUP, RejectsWriter, Store, read_rejects_ref

GROUP_BYTES = 64 * 1024 * 1024
"""Bytes of records held before a row group is written, whatever their number."""

FAULTS_OF_A_FILE = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.EIO, errno.ELOOP)
)
"""What the operating system says of this file. Anything else (no space, too many open files, a
connection lost) is no property of the file and ends the build: a reject would be remembered."""


class GoneError(Exception):
    """Files have gone since they were listed; what was read must not be taken for the listing's."""

    def __init__(self, files: dict[str, str]) -> None:
        super().__init__(f"{len(files)} files have gone")
        self.files = files  # URI → what the system said of it


def read_part(part: PartSpec, store: Store, progress: Progress = SILENT) -> RecordsPart:
    """Read the part, or find it read. Returns its records file with the counts of both.

    Where a retry healed something, what that reading left is the part's.
    """
    reading = standing_reading(store, part.digest)
    found = store.find("records", reading.records)
    rejects_path = store.find("rejects", reading.rejects)
    if found is not None and rejects_path is not None:
        rows = pq.read_metadata(found).num_rows
        return records_part(part, reading, found, rows, read_rejects_ref(rejects_path))
    try:
        if reading == first_reading(part.digest):
            return write_part(part, store, reading, progress)
        with draft_reading(store) as draft:  # what was healed is gone: all is read anew
            return settle(part, write_part(part, store, draft, progress), store, reading)
    except GoneError as gone:
        return read_part(_without(part, gone.files), store)


def _without(part: PartSpec, gone: dict[str, str]) -> PartSpec:
    """The part as it was found: under another digest, so that files that come back are read."""
    every = tuple(sorted({**dict(part.gone), **gone}.items()))
    return replace(part, gone=every, digest=digest_json([part.digest, [uri for uri, _ in every]]))


def settle(part: PartSpec, read: RecordsPart, store: Store, instead: Reading) -> RecordsPart:
    """Give a draft of the part the name of what it holds, and let it count `instead`."""
    rejects = store.path("rejects", rejects_name(part, read.rejects))
    path = store.path("records", digest_json(["retried", part.digest, digest_file(read.path)]))
    Path(read.rejects.path).replace(rejects)
    Path(read.path).replace(path)
    reading = Reading(path.stem, rejects.stem, read.records)
    keep_reading(store, part.digest, reading, instead)
    refused = replace(read.rejects, path=str(rejects))
    return records_part(part, reading, path, read.records, refused)


def rejects_name(part: PartSpec, rejects: RejectsRef) -> str:
    """The name of a retry's rejects: what they are of and what they hold."""
    return f"ingest-{digest_json([part.digest, digest_file(rejects.path)])}"


def write_part(part: PartSpec, store: Store, reading: Reading, progress: Progress) -> RecordsPart:
    """Read the part into files of that reading's names; raises `GoneError`, see `read_part`."""
    with store.create("records", reading.records) as path:
        writers = rejects_writer(part, store, reading.rejects), RecordsWriter(path, part)
        with writers[0] as rejects, writers[1] as records:
            for table, refused in judged_batches(part, progress):
                records.add(table)
                for reject in refused:
                    rejects.add(**reject)
    path = store.path("records", reading.records)
    return records_part(part, reading, path, records.rows, rejects.ref)


def rejects_writer(part: PartSpec, store: Store, name: str) -> RejectsWriter:
    """A writer of the part's rejects."""
    source = part.source
    return RejectsWriter(store, name, source=source.name, kind=source.kind, stage="ingest")


def judged_batches(
    part: PartSpec, progress: Progress, row: int = 0
) -> Iterator[tuple[pa.Table, list[dict[str, object]]]]:
    """The usable records of each batch and its rejects as rows; `row` is that of the first record.

    What was forgotten is among the rejects, without its key. Raises `GoneError` at the end where
    files have gone since they were listed.
    """
    hashes = read_hashes(part.tombstones)
    gone: dict[str, str] = {}
    for file, raw in raw_batches(part, gone):
        table, refused = judge(raw, file, part, row)
        if hashes:
            table, refused = leave_out(table, refused, hashes, raw, file, part, row)
        _check_count(file, raw, table.num_rows + len(refused))
        yield table, [_reject_row(reject, file, part, row) for reject in refused]
        row += raw.met
        progress.advance(raw.met)
    if gone:
        raise GoneError(gone)


def raw_batches(part: PartSpec, gone: dict[str, str]) -> Iterator[tuple[FileRef, RawBatch]]:
    """Every file's batches in order; a file that cannot be read, or not to its end, is a reject.

    Files that have gone since they were listed are put into `gone`: URI → what was said of it.
    """
    options, kind = resolve_options(part.storage_options), part.source.kind
    known = dict(part.gone)
    for file in part.files:
        if file.uri in known:
            yield file, _broken(file, kind, Reason.UNREADABLE_FILE, known[file.uri])
            continue
        if file.problem is not None:
            reason = Reason(file.problem)
            yield file, _broken(file, kind, reason, MEANING[reason])
            continue
        reader = reader_for(file.uri, kind)
        if reader is None:
            detail = f"no {kind} reader knows this kind of file"
            yield file, _broken(file, kind, Reason.UNSUPPORTED_FORMAT, detail)
            continue
        try:
            for raw in reader.read(file, part, options):
                yield file, raw
        except UnreadableError as error:
            yield file, _broken(file, kind, error.reason, error.detail)
        except OSError as error:
            said = without_values(error.strerror or str(error), options)
            if error.errno not in FAULTS_OF_A_FILE and not isinstance(error, FileNotFoundError):
                # The error itself may quote a secret, and would be shown as the cause.
                raise VecmillError(
                    f"{file.uri} cannot be read: {type(error).__name__}: {said}; expected a disk "
                    "and a network that answer: see to that and build again"
                ) from None
            if isinstance(error, FileNotFoundError):
                gone[file.uri] = said
            yield file, _broken(file, kind, Reason.UNREADABLE_FILE, said)


def _broken(file: FileRef, kind: str, reason: Reason, detail: str) -> RawBatch:
    """The one record that a file counts as which cannot be read."""
    key = None if holds_many(file, kind) else file.key
    return RawBatch(1, no_records(), (Rejected(0, reason, detail, key),))


def _check_count(file: FileRef, raw: RawBatch, found: int) -> None:
    """A reader that loses a record, or makes one up, is a mistake of ours: say so at once."""
    if found != raw.met:
        raise AssertionError(
            f"{file.uri}: the reader met {raw.met} records but handed on {found} with its rejects"
        )


def _reject_row(reject: Rejected, file: FileRef, part: PartSpec, first: int) -> dict[str, object]:
    """The reject as a row of `REJECTS`; `first` is the row of its batch's first record."""
    return {
        "key": _writable(reject.key),
        "reason": str(reject.reason),
        "detail": _writable(reject.detail),
        "uri": reject.uri or file.uri,
        "position": reject.position,
        "part": part.digest,
        "row": first + reject.place,
    }


def _writable(text: str | None) -> str | None:
    """The text with lone surrogates spelled out: a reject's own key may be what is wrong."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def records_part(
    part: PartSpec, reading: Reading, path: Path, records: int, rejects: RejectsRef
) -> RecordsPart:
    """The reference to what a reading of the part left."""
    source = part.source
    return RecordsPart(reading.records, source.name, source.kind, str(path), records, rejects)


class RecordsWriter:
    """Writes records in row groups of a size that the next stage can hold."""

    def __init__(self, path: Path, part: PartSpec) -> None:
        fields = [pa.field(name, arrow_type(kind)) for name, kind in part.columns]
        self._schema = records_schema(fields)
        self._path = path
        self._held: list[pa.Table] = []
        self._size = 0
        self._count = 0
        self.rows = 0

    def __enter__(self) -> RecordsWriter:
        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def add(self, table: pa.Table) -> None:
        """Add records in row order."""
        self._held.append(table)
        self._size += table.nbytes
        self._count += table.num_rows
        if self._count >= ROWS_PER_GROUP or self._size >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._count:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=ROWS_PER_GROUP)
        self.rows += self._count
        self._held, self._size, self._count = [], 0, 0

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()
