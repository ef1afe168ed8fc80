"""The members of a tar, one after the other, without trusting its headers.

`tarfile` reads the headers; the data is read by offset. What is guarded here: a break (which
`tarfile` takes for the end of the archive), a header that claims to be huge, one that leads back,
and memory that grows with the number of members.
"""

from __future__ import annotations

import io
import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from schemas.reasons import Reason
from tasks.ingest.judged_pictures import Unusable
from tasks.ingest.reader import UnreadableError
from tasks.store.image_formats import stranger

MAX_HEADER = 1 << 20
"""Bytes of an extended header (long names, attributes); real ones have some hundred."""

MAX_OFFSET = 1 << 60
"""Beyond any file; operating systems refuse to seek to 1 << 63."""

BLOCK = tarfile.BLOCKSIZE

HEADER_ERRORS = (
    tarfile.TarError,
    EOFError,
    ValueError,  # numbers and encodings, UnicodeError among them
    OverflowError,
    RecursionError,  # extended headers of extended headers
    LookupError,
    TypeError,
    AttributeError,
)
"""What `tarfile` raises on hostile headers; it documents the first alone. An `OSError` is none of
these: the disk or the network failed, which is for the caller to judge."""


@dataclass(frozen=True)
class Member:
    """A file in the archive, and why it must not be read if so. `name` is normalised POSIX, NFC."""

    name: str
    offset: int
    size: int
    problem: Unusable | None = None


def tar_members(stream: BinaryIO) -> Iterator[Member]:
    """Everything in the tar but its folders, in order; raises `UnreadableError` at a break."""
    before = 0
    try:
        archive = tarfile.TarFile(fileobj=_ShortReads(stream), encoding="utf-8")
        while (info := archive.next()) is not None:
            # tarfile keeps every header it has seen
            archive.members = []  # type: ignore[attr-defined]
            if archive.offset <= before:
                raise UnreadableError(f"the header at byte {before} leads back to an earlier one")
            before = archive.offset
            if not info.isdir():
                yield _member(info)
        _check_end(stream, archive.offset)
    except HEADER_ERRORS as error:
        raise UnreadableError(_said(stream, before, error)) from error


def _said(stream: BinaryIO, before: int, error: Exception) -> str:
    stream.seek(0)
    other = None if before else stranger(stream.read(BLOCK))
    if other is not None:
        return f"no tar: the content is {other}, expected an uncompressed tar"
    return f"no readable tar from byte {before} on: {error}"


class _ShortReads(io.RawIOBase):
    """The stream for `tarfile`, which reads as much for a header as the header says."""

    name = None  # tarfile asks

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def seek(self, offset: int, whence: int = 0) -> int:
        if not 0 <= offset <= MAX_OFFSET:
            raise tarfile.ReadError(f"a header leads to byte {offset}")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes, at most {MAX_HEADER} are read")
        return self._stream.read(size)


def _check_end(stream: BinaryIO, offset: int) -> None:
    """Raise unless the archive really ends at `offset`: with a block of zeros."""
    stream.seek(offset)
    block = stream.read(BLOCK)
    if block != bytes(BLOCK):
        found = "the file ends" if not block else f"there is {block[:12]!r}"
        raise UnreadableError(f"at byte {offset} {found}, expected a member or the end of the tar")


def _member(info: tarfile.TarInfo) -> Member:
    name = str(PurePosixPath(unicodedata.normalize("NFC", info.name)))
    return Member(_printable(name), info.offset_data, info.size, _problem(info))


def _problem(info: tarfile.TarInfo) -> Unusable | None:
    if info.name.startswith("/") or ".." in PurePosixPath(info.name).parts:
        return Unusable(Reason.OUTSIDE_ROOT, f"the member {info.name!r} leads out of the archive")
    if info.issym() or info.islnk():
        return Unusable(
            Reason.OUTSIDE_ROOT, f"a link to {info.linkname!r}; links in archives are not followed"
        )
    if _printable(info.name) != info.name:
        return Unusable(Reason.NOT_UTF8, f"the member's name {info.name!r} is no UTF-8")
    if not info.isreg() or info.issparse():
        return Unusable(
            Reason.UNSUPPORTED_FORMAT, f"a tar member of type {info.type!r}, expected a plain file"
        )
    return None


def _printable(name: str) -> str:
    """The name as valid Unicode: bytes that are no UTF-8 as backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
