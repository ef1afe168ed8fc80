"""What a file's first bytes say it is, and whether the file ends before its picture does.

Names and extensions lie, so the format is read from the content. `ends_early` walks a format's
own structure (chunks, blocks, boxes); it is asked only about files that would not decode, to
tell a cut file from a damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import PurePosixPath

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
"""What vecmill decodes, by Pillow's names."""

SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    ".webp": "WEBP",
    ".gif": "GIF",
}
"""What a file's name claims; believed only where the content says nothing at all."""

_MAGIC: dict[bytes, str] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
    b"MM*\x00": "TIFF",  # byte order mixed up by its writer; Pillow reads these two
    b"II\x00*": "TIFF",
    b"BM": "BMP",
}

_OTHERS: dict[bytes, str] = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "an icon",
    b"\x00\x00\x02\x00": "a cursor or TGA",
    b"icns": "an Apple icon",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"BLP": "BLP",
    b"SIMPLE  =": "FITS",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x01\xda": "SGI",
    b"\xd0\xcf\x11\xe0": "an OLE document",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"/* XPM": "XPM",
    b"<?xml": "XML",
    b"<svg": "SVG",
    b"<!DOCTYPE": "HTML",
    b"<html": "HTML",
    **{b"P%d" % number: "netpbm" for number in range(1, 8)},
}
"""Common strangers, named so that the reject says what the file is."""

_AVIF_BRANDS = (b"avif", b"avis")
_SNIFFED = 64


def image_format(data: bytes) -> str | None:
    """The format of `FORMATS` whose signature `data` carries, or None."""
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        length = max(16, min(int.from_bytes(data[:4], "big"), _SNIFFED))
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, length, 4))]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return "AVIF"
    return None


def cut_signature(data: bytes) -> str | None:
    """The format whose signature begins with all of `data`: a file cut within its first bytes."""
    for magic, name in _MAGIC.items():
        if 1 < len(data) < len(magic) and magic.startswith(data):
            return name
    return "WEBP" if data[:4] == b"RIFF" and len(data) < 12 else None


def stranger(data: bytes) -> str | None:
    """What a file that is none of `FORMATS` is instead, or None."""
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return f"an ISO media file of brand {data[8:12]!r}"
    return None


def claimed_format(name: str) -> str | None:
    """The format of `FORMATS` that a file's name claims, or None."""
    return SUFFIXES.get(PurePosixPath(name.lower()).suffix)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in a WebP's header; None when it has none.

    Pillow's decoder allocates the canvas when it opens the file, too late to refuse a bomb.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def jpeg_segments_join(data: bytes) -> bool:
    """Whether each segment of a JPEG's head begins where the last one ends, up to its pixels."""
    at = 2
    try:
        while data[at] == 0xFF and data[at + 1] != 0xDA:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        return data[at] == 0xFF
    except (IndexError, struct.error):
        return False


def ends_early(name: str, data: bytes) -> bool:
    """Whether a file of format `name` stops before the structure that its own headers announce.

    Never raises: a read past the end of `data` is the answer.
    """
    try:
        return _ENDS_EARLY[name](data)
    except (IndexError, OverflowError, struct.error):
        return True


def _jpeg(data: bytes) -> bool:
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            return False  # no marker where one must stand: damaged
        marker = data[at + 1]
        if marker == 0xDA:  # the picture's data follows, up to the end marker
            return data.rfind(b"\xff\xd9") < at
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        bare = marker == 0x01 or 0xD0 <= marker <= 0xD9
        at += 2 if bare else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return True


def _png(data: bytes) -> bool:
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            return False  # no chunk where one must stand: damaged
        at += 12 + length
        if at > len(data):
            return True
        if kind == b"IEND":
            return False


def _gif(data: bytes) -> bool:
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while True:
        kind = data[at]
        if kind == 0x2C:  # the first picture
            flags = data[at + 9]
            at += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
            _after_blocks(data, at)
            return False
        if kind != 0x21:
            return False  # the end, or damage
        at = _after_blocks(data, at + 2)


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _webp(data: bytes) -> bool:
    return 8 + struct.unpack_from("<I", data, 4)[0] > len(data)


def _bmp(data: bytes) -> bool:
    # Pillow itself says when the pixels end early; only the headers are left to ask about.
    return 14 + struct.unpack_from("<I", data, 14)[0] > len(data)


def _tiff(data: bytes) -> bool:
    order = "<" if data[:1] == b"I" else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:  # BigTIFF
        start = struct.unpack_from(f"{order}Q", data, 8)[0]
        count = struct.unpack_from(f"{order}Q", data, start)[0]
        return start + 8 + 20 * count > len(data)
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}H", data, start)[0]
    return start + 2 + 12 * count > len(data)


def _avif(data: bytes) -> bool:
    at, kinds = 0, set()
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:
            length = struct.unpack_from(">Q", data, at + 8)[0]
        if length == 0:  # up to the end
            length = len(data) - at
        if length < 8:
            return False
        kinds.add(kind)
        at += length
    return at > len(data) or b"mdat" not in kinds


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "TIFF": _tiff,
    "BMP": _bmp,
    "AVIF": _avif,
}
