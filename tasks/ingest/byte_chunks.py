"""A file of lines as a stream of byte chunks, decompressed by its name's ending.

What came before a break in a compressed stream is kept: of a gzip file that ends too early every
byte, of a damaged one or of zstd all but the last chunk of 256 KB.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from schemas.reasons import Reason
from tasks.ingest.reader import UnreadableError
from tasks.store.opening import open_uri

CHUNK_BYTES = 256 * 1024
"""Bytes read at once from the file."""

UTF8_BOM = b"\xef\xbb\xbf"

FOREIGN_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""What a file in another encoding starts with; the longer ones first."""


def foreign_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 when the first bytes say so."""
    return next((name for bom, name in FOREIGN_BOMS.items() if head.startswith(bom)), None)


def byte_chunks(uri: str, options: dict[str, Any]) -> Iterator[bytes]:
    """The file's bytes without a UTF-8 byte order mark, decompressed for `.gz` and `.zst`.

    Raises `UnreadableError` where the compressed stream breaks off or the file is UTF-16.
    """
    with open_uri(uri, options) as stream:
        head = b""
        chunks = _decompressed(stream, uri.lower())
        for chunk in chunks:
            head += chunk
            if len(head) >= 4:
                break
        yield _after_bom(head)
        yield from chunks


def _after_bom(head: bytes) -> bytes:
    encoding = foreign_encoding(head)
    if encoding is not None:
        raise UnreadableError(
            f"the file is {encoding}; expected UTF-8: convert it", Reason.NOT_UTF8
        )
    return head.removeprefix(UTF8_BOM)


def _decompressed(stream: BinaryIO, name: str) -> Iterator[bytes]:
    if name.endswith(".gz"):
        return _gunzip(stream)
    if name.endswith(".zst"):
        return _unzstd(stream)
    return iter(lambda: stream.read(CHUNK_BYTES), b"")


def _gunzip(stream: BinaryIO) -> Iterator[bytes]:
    """Every member of a gzip file, a bounded piece at a time."""
    decoder = None
    data = stream.read(CHUNK_BYTES)
    if not data:
        raise UnreadableError("empty, where a gzip file has at least a header")
    while data or (data := stream.read(CHUNK_BYTES)):
        if decoder is None:
            decoder = zlib.decompressobj(wbits=31)
        try:
            out = decoder.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise UnreadableError(f"not readable as gzip from here on: {error}") from error
        if out:
            yield out
        data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        if decoder.eof:
            decoder = None
            data = data.lstrip(b"\0")  # padding after a member is legal
    if decoder is not None:
        yield decoder.flush()
    if decoder is not None and not decoder.eof:
        raise UnreadableError("the gzip file ends too early")


def _unzstd(stream: BinaryIO) -> Iterator[bytes]:
    """Every frame of a zstd file, a bounded piece at a time."""
    if not stream.read(1):
        raise UnreadableError("empty, where a zstd file has at least a header")
    stream.seek(0)
    with pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd") as decoder:
        while True:
            try:
                out = decoder.read(CHUNK_BYTES)
            except (OSError, pa.ArrowException) as error:
                raise UnreadableError(f"not readable as zstd from here on: {error}") from error
            if not out:
                return
            yield out
