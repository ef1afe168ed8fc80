"""WebDataset tars: every image member is a record, its sidecars feed the columns.

    members ─> windows of some MB ─ judge in threads ─> samples (same stem) ─> RawBatch

Neighbouring members whose names agree up to the first dot are one sample. `json`, `txt` and `cls`
are sidecars: a column is a field of the json, or `txt` or `cls` itself. Any other member must be
an image, and is a reject where it is none. A record's locator is its range of bytes in the tar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from schemas.reasons import Reason
from schemas.refs import FileRef, PartSpec
from tasks.ingest.column_types import plain_type
from tasks.ingest.judged_pictures import (
    Candidate,
    JudgedPicture,
    Unusable,
    decoders,
    judge_all,
    picture_columns,
)
from tasks.ingest.reader import RawBatch, Rejected, UnreadableError
from tasks.ingest.sidecars import SIDECARS, SidecarColumns, column_array, sidecar_values
from tasks.ingest.tar_members import Member, tar_members
from tasks.store.image_bytes import range_locator
from tasks.store.opening import open_uri
from tasks.store.pictures import PictureError, check_file_size

WINDOW_MEMBERS = 64
WINDOW_BYTES = 32 << 20
"""Members judged at once: enough for every thread, some tens of MB; a large one goes alone."""

SAMPLE_IMAGES = 256
"""Images of one stem that are held for their sidecars; a sample has a handful."""

BATCH_ROWS = 256

HEAD_MEMBERS = 256
"""Members at the head of a tar whose sidecars tell the columns' types."""

MAX_SIDECAR = 8 << 20
"""Bytes of a sidecar; a larger one is judged like any other member that is no image."""


BREAKS = (UnreadableError, OSError)
"""Where reading stops: what is held is handed on first, then the error."""

Judged = tuple[Member, JudgedPicture | Unusable | bytes]
"""A member with its verdict; a sidecar with its bytes."""


@dataclass
class Sample:
    """Neighbouring members of one stem: images in order, the bytes of sidecars by ending."""

    stem: str | None
    images: list[tuple[Member, JudgedPicture | Unusable]] = field(default_factory=list)
    sidecars: dict[str, bytes] = field(default_factory=dict)
    orphans: list[Member] = field(default_factory=list)  # the sidecars, where no image comes


class WebDatasetReader:
    """Images and their sidecars in uncompressed tars."""

    kind = "image"
    suffixes = (".tar",)
    many = True
    has_columns = True
    needs: tuple[str, ...] = ()

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """Names and types of what the sidecars of the first samples hold."""
        with open_uri(file.uri, options) as stream:
            values, broken = _head_values(stream)
        if broken is not None and not values:
            raise broken  # else the break is told when the file is read
        kinds = {name: plain_type(column_array(held).type) for name, held in values.items()}
        return pa.schema(kinds.items())

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """Batches of records; where the tar breaks off, what came before has been yielded."""
        asked = SidecarColumns(part.source)
        if asked.names:
            with open_uri(file.uri, options) as stream:
                asked = SidecarColumns(part.source, list(_head_values(stream)[0]))
        rows = _Rows(file, part, asked)
        try:
            with open_uri(file.uri, options) as stream:
                for sample in _samples(_judged(stream, part.thumbnails)):
                    rows.add(sample)
                    if rows.met >= BATCH_ROWS:
                        yield rows.batch()
        except BREAKS:
            if rows.met:
                yield rows.batch()
            raise
        if rows.met:
            yield rows.batch()


def _ending(member: Member) -> tuple[str | None, str]:
    """The stem (None where the name has none) and the ending, by WebDataset's rule."""
    folder, _, name = member.name.rpartition("/")
    stem, dot, ending = name.partition(".")
    return (f"{folder}/{stem}" if stem and dot else None), ending.lower()


def _is_sidecar(member: Member) -> bool:
    fits = member.problem is None and member.size <= MAX_SIDECAR
    return fits and _ending(member)[1] in SIDECARS


def _data(stream: BinaryIO, member: Member) -> bytes:
    stream.seek(member.offset)
    data = stream.read(member.size)
    if len(data) < member.size:
        raise UnreadableError(f"the tar ends within its member {member.name!r}")
    return data


def _candidate(stream: BinaryIO, member: Member) -> Candidate:
    """The member's bytes, unless its header already says that they are not worth reading."""
    if member.problem is not None:
        return Candidate(member.name, problem=member.problem)
    try:
        if not _is_sidecar(member):
            check_file_size(member.size)
    except PictureError as error:
        return Candidate(member.name, problem=Unusable(error.reason, error.detail))
    return Candidate(member.name, _data(stream, member))


def _windows(stream: BinaryIO) -> Iterator[list[tuple[Member, Candidate]]]:
    """The members with their bytes, some MB at a time; at a break first those before it."""
    window: list[tuple[Member, Candidate]] = []
    held = 0
    try:
        for member in tar_members(stream):
            candidate = _candidate(stream, member)
            window.append((member, candidate))
            held += len(candidate.data)
            if len(window) >= WINDOW_MEMBERS or held >= WINDOW_BYTES:
                yield window
                window, held = [], 0
    except BREAKS:
        yield window
        raise
    yield window


def _judged(stream: BinaryIO, thumbnails: bool) -> Iterator[Judged]:
    """Every member with its verdict, in order."""
    with decoders() as pool:
        for window in _windows(stream):
            images = [candidate for member, candidate in window if not _is_sidecar(member)]
            verdicts = iter(judge_all(pool, images, thumbnails))
            for member, candidate in window:
                yield member, candidate.data if _is_sidecar(member) else next(verdicts)


def _head_sidecars(stream: BinaryIO) -> Iterator[Judged]:
    """The sidecars among the first members."""
    for member in islice(tar_members(stream), HEAD_MEMBERS):
        if _is_sidecar(member):
            yield member, _data(stream, member)


def _head_values(
    stream: BinaryIO,
) -> tuple[dict[str, list[object]], UnreadableError | None]:
    """The values of every column in the head's sidecars, and how the head broke off if it did."""
    values: dict[str, list[object]] = {}
    try:
        for sample in _samples(_head_sidecars(stream)):
            found = sidecar_values(sample.sidecars)
            for name, value in {} if isinstance(found, Unusable) else found.items():
                values.setdefault(name, []).append(value)
    except UnreadableError as error:
        return values, error
    return values, None


def _samples(members: Iterator[Judged]) -> Iterator[Sample]:
    """Neighbours of one stem, together; a sidecar that is there already opens the next sample."""
    sample = Sample(None)
    try:
        for member, judged in members:
            stem, ending = _ending(member)
            full = len(sample.images) >= SAMPLE_IMAGES
            if stem is None or stem != sample.stem or ending in sample.sidecars or full:
                yield sample
                sample = Sample(stem)
            if isinstance(judged, bytes):
                sample.sidecars[ending] = judged
                sample.orphans.append(member)
            else:
                sample.images.append((member, judged))
    except BREAKS:
        yield sample
        raise
    yield sample


class _Rows:
    """The records and rejects of the next batch."""

    def __init__(self, file: FileRef, part: PartSpec, columns: SidecarColumns) -> None:
        self._file = file
        self._source = part.source
        self._columns = columns
        self._clear()

    def _clear(self) -> None:
        self.met = 0
        self._places: list[int] = []
        self._keys: list[str | None] = []
        self._pictures: list[JudgedPicture] = []
        self._locators: list[str] = []
        self._values: list[dict[str, object]] = []
        self._rejects: list[Rejected] = []

    def add(self, sample: Sample) -> None:
        """Take every image of a sample, or its sidecars where it has none."""
        values = self._columns.of(sample.sidecars)
        for member, judged in sample.images:
            path = f"{self._file.key}/{member.name}"
            key = path if self._source.key is None else values.key
            if isinstance(judged, Unusable):
                self._reject(key or path, judged)
            elif values.problem is not None:
                self._reject(key or path, values.problem)
            else:
                self._keep(key, member, judged, values.columns)
        for member in () if sample.images else sample.orphans:
            alone = Unusable(Reason.UNSUPPORTED_FORMAT, "a sidecar without an image of its stem")
            self._reject(f"{self._file.key}/{member.name}", alone)

    def _keep(
        self, key: str | None, member: Member, picture: JudgedPicture, values: dict[str, object]
    ) -> None:
        self._places.append(self.met)
        self._keys.append(key)
        self._pictures.append(picture)
        self._locators.append(range_locator(member.offset, member.size))
        self._values.append(values)
        self.met += 1

    def _reject(self, key: str | None, problem: Unusable) -> None:
        self._rejects.append(Rejected(self.met, problem.reason, problem.detail, key))
        self.met += 1

    def batch(self) -> RawBatch:
        """What was taken since the last batch."""
        columns = {"key": pa.array(self._keys, pa.string()), **picture_columns(self._pictures)}
        columns["locator"] = pa.array(self._locators, pa.string())
        wanted = [(column.target, column.name) for column in self._source.columns]
        if self._source.time is not None:
            wanted.append(("time", self._source.time))
        for target, name in wanted:
            columns[target] = column_array([values[name] for values in self._values])
        records = pa.RecordBatch.from_pydict(columns)
        places = np.array(self._places, np.int64)
        raw = RawBatch(self.met, records, tuple(self._rejects), places)
        self._clear()
        return raw


WEBDATASET = WebDatasetReader()
