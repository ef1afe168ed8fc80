"""Image files: each file is one record, its relative path the key, its content the judge.

The reader takes every name, also one without an ending: a JPEG called `scan` is a record, and a
text file in the folder a reject, because every file that an image source matches is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from schemas.refs import FileRef, PartSpec
from tasks.ingest.judged_pictures import Candidate, Unusable, judge, picture_columns
from tasks.ingest.reader import RawBatch, Rejected
from tasks.ingest.tabular import no_records
from tasks.store.image_formats import SUFFIXES
from tasks.store.opening import open_uri
from tasks.store.pictures import MAX_FILE_BYTES, PictureError, check_file_size


class ImageReader:
    """Single image files."""

    kind = "image"
    suffixes = (*SUFFIXES, "")  # any other name: the content decides
    many = False
    has_columns = False
    needs: tuple[str, ...] = ()

    def columns(self, file: FileRef, options: dict[str, Any]) -> pa.Schema | None:
        """None: an image file has no columns."""
        return None

    def read(self, file: FileRef, part: PartSpec, options: dict[str, Any]) -> Iterator[RawBatch]:
        """One batch of one record or one reject."""
        judged = judge(_candidate(file, options), part.thumbnails)
        if isinstance(judged, Unusable):
            reject = Rejected(0, judged.reason, judged.detail, file.key)
            yield RawBatch(1, no_records(), (reject,))
            return
        columns = {"key": pa.array([file.key]), **picture_columns([judged])}
        yield RawBatch(1, pa.RecordBatch.from_pydict(columns))


def _candidate(file: FileRef, options: dict[str, Any]) -> Candidate:
    """The file's bytes, unless the listing already says that they are not worth reading."""
    try:
        check_file_size(file.size)
    except PictureError as error:
        return Candidate(file.key, problem=Unusable(error.reason, error.detail))
    with open_uri(file.uri, options) as stream:
        return Candidate(file.key, stream.read(MAX_FILE_BYTES + 1))


IMAGES = ImageReader()
