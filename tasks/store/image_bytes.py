"""Reading an image's bytes again, from where its record says that they lie.

    uri + locator  →  None            the whole file
                      bytes:512+1024  a member of a tar: offset and length
                      row:7:image     a cell of a parquet file: row from 0, column
                      kept:           a published image whose place in the file is known no more

Ingest writes the locators, embed follows them. Consecutive places in one container share one open
handle, and rows of a parquet file that ascend are streamed, not sought.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.formats import PICTURES, format_of
from tasks.store.opening import open_uri
from tasks.store.pictures import MAX_FILE_BYTES

ROWS_AT_ONCE = 16
"""Images decoded from a parquet file at a time: some MB to some tens of MB."""

READ_BUFFER = 1 << 20
"""Bytes of a column chunk held while its pages are read; pyarrow would take the whole chunk."""

KEPT = "kept:"
"""The locator of an image that is kept of a release: a file of its own may still be there."""

GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def range_locator(offset: int, length: int) -> str:
    """The locator of `length` bytes from `offset` of a container."""
    return f"bytes:{offset}+{length}"


def row_locator(row: int, column: str) -> str:
    """The locator of a cell of a parquet file; `row` counts from 0 through the whole file."""
    return f"row:{row}:{column}"


def read_images(
    uris: Sequence[str],
    locators: Sequence[str | None],
    storage_options: dict[str, Any] | None = None,
) -> Iterator[bytes]:
    """The bytes of each image, in order; `storage_options` are values, not variables' names.

    Where the file is gone or no longer reaches the place, yields what is left of it, perhaps `b""`:
    its hash is then not the record's. Any other `OSError` (no permission, no network) is raised,
    since it says nothing about the image. One container is open at a time.
    """
    reader = _Containers(storage_options)
    with closing(reader):
        for uri, locator in zip(uris, locators, strict=True):
            try:
                yield reader.read(uri, locator)
            except GONE:
                yield b""


def image_bytes(column: pa.Array) -> pa.Array:
    """The bytes in a column of images: binary, or a struct with `bytes` as Hugging Face writes it.

    Returns a large_binary array of the same length; raises `TypeError` for any other type.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        # struct_field, unlike StructArray.field, gives null where the struct itself is null
        column = pc.struct_field(column, "bytes")
    kind = column.type
    if not (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    ):
        raise TypeError(f"expected binary or a struct with `bytes`, got {kind}")
    return column.cast(pa.large_binary())


class _Container(Protocol):
    def read(self, place: str) -> bytes: ...
    def close(self) -> None: ...


class _Containers:
    """The container that is open just now."""

    def __init__(self, options: dict[str, Any] | None) -> None:
        self._options = options
        self._open: tuple[str, str, _Container] | None = None

    def read(self, uri: str, locator: str | None) -> bytes:
        if locator == KEPT and format_of(uri) not in PICTURES:
            return b""  # one of many in a container
        if locator in (None, KEPT):
            with open_uri(uri, self._options) as handle:
                return handle.read(MAX_FILE_BYTES)
        scheme, _, place = locator.partition(":")
        if self._open is None or self._open[:2] != (uri, scheme):
            self.close()
            self._open = (uri, scheme, _KINDS[scheme](open_uri(uri, self._options)))
        return self._open[2].read(place)

    def close(self) -> None:
        if self._open is not None:
            self._open[2].close()
            self._open = None


class _Archive:
    """Byte ranges of an uncompressed tar."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    def read(self, place: str) -> bytes:
        offset, length = map(int, place.split("+"))
        self._handle.seek(offset)
        return self._handle.read(length)

    def close(self) -> None:
        self._handle.close()


class _Table:
    """Cells of a parquet file; ascending rows of one column are read in one pass."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._file: pq.ParquetFile | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._column = ""
        self._first = 0  # the row of the file that `_images` starts with
        self._images: pa.Array = pa.array([], pa.large_binary())
        self._end = 0  # the first row after the row group that is being streamed

    def read(self, place: str) -> bytes:
        number, _, column = place.partition(":")
        row = int(number)
        try:
            if column != self._column or not self._first <= row < self._end:
                self._start(row, column)
            while row >= self._first + len(self._images):
                self._next()
        except (pa.ArrowInvalid, TypeError, LookupError, StopIteration):
            self._column = ""  # no parquet any more, no such column, no such row
            return b""
        return self._images[row - self._first].as_py() or b""

    def _start(self, row: int, column: str) -> None:
        """Stream the row group that holds `row`."""
        if self._file is None:
            self._file = pq.ParquetFile(self._handle, buffer_size=READ_BUFFER, pre_buffer=False)
        metadata, first = self._file.metadata, 0
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if row < first + rows:
                break
            first += rows
        else:
            raise IndexError(f"row {row} of {first}")
        if column not in self._file.schema_arrow.names:
            raise KeyError(column)
        self._column, self._first, self._end = column, first, first + rows
        self._images = pa.array([], pa.large_binary())
        self._batches = self._file.iter_batches(ROWS_AT_ONCE, [group], [column])

    def _next(self) -> None:
        self._first += len(self._images)
        self._images = image_bytes(next(self._batches).column(0))

    def close(self) -> None:
        self._handle.close()


_KINDS = {"bytes": _Archive, "row": _Table}
