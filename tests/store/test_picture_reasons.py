"""Each reason why bytes are no usable picture, by a file that has it."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from schemas.reasons import Reason
from tasks.store import pictures
from tasks.store.pictures import MAX_FILE_BYTES, PictureError, open_picture, picture_facts


def noise(kind: str, **options: object) -> bytes:
    """A file of some size whatever the format: nothing in it can be compressed away."""
    pixels = np.random.default_rng(7).integers(0, 255, (90, 120, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def refused(data: bytes, name: str = "") -> tuple[Reason, str]:
    with pytest.raises(PictureError) as caught:
        picture_facts(data, thumbnails=False, name=name)
    return caught.value.reason, caught.value.detail


def outcome(data: bytes) -> Reason | str:
    try:
        open_picture(data)
    except PictureError as error:
        return error.reason
    return "decoded"


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


def test_no_bytes() -> None:
    assert refused(b"") == (Reason.EMPTY_IMAGE, "the file has 0 bytes")


FORMATS = [
    pytest.param("JPEG", {}, id="jpg"),
    pytest.param("JPEG", {"progressive": True}, id="progressive-jpg"),
    pytest.param("PNG", {}, id="png"),
    pytest.param("GIF", {}, id="gif"),
    pytest.param("WEBP", {}, id="webp"),
    pytest.param("TIFF", {}, id="tiff"),
    pytest.param("TIFF", {"compression": "tiff_lzw"}, id="tiff-lzw"),
    pytest.param("BMP", {}, id="bmp"),
    pytest.param("AVIF", {}, id="avif"),
]


@pytest.mark.parametrize(("kind", "options"), FORMATS)
@pytest.mark.parametrize("share", [0.0005, 0.002, 0.2, 0.5, 0.9])
def test_a_file_cut_anywhere_is_truncated(kind: str, options: dict, share: float) -> None:
    data = noise(kind, **options)
    reason, detail = refused(data[: max(16, int(len(data) * share))])
    assert reason is Reason.TRUNCATED_IMAGE, detail


@pytest.mark.parametrize("start", [b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF\x20\0\0\0", b"II*"])
def test_a_file_cut_within_its_signature_is_truncated(start: bytes) -> None:
    assert refused(start)[0] is Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize(("kind", "options"), [p for p in FORMATS if p.id not in ("bmp", "tiff")])
def test_a_damaged_file_is_corrupt_or_decodes_but_nothing_else(kind: str, options: dict) -> None:
    data = bytearray(noise(kind, **options))
    half = len(data) // 2
    data[half : half + 400] = b"\x00" * 400
    assert outcome(bytes(data)) in ("decoded", Reason.CORRUPT_IMAGE, Reason.TRUNCATED_IMAGE)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            png(40, 40, png_chunk(b"IDAT", b"no zlib"), png_chunk(b"IEND", b"")), id="png"
        ),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x04ab" + b"nonsense" * 40 + b"\xff\xd9", id="jpg"),
        pytest.param(b"II*\x00\x08\x00\x00\x00" + b"\x00" * 90, id="tiff"),
        pytest.param(b"RIFF\x20\x00\x00\x00WEBPVP8 " + b"\x07" * 40, id="webp"),
    ],
)
def test_a_whole_file_that_does_not_decode_is_corrupt(data: bytes) -> None:
    assert refused(data)[0] is Reason.CORRUPT_IMAGE


def test_every_single_cut_and_flipped_byte_of_a_small_file_is_a_reject_or_a_picture() -> None:
    """No other exception than PictureError comes out, whatever is broken."""
    for kind in ("PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG", "AVIF"):
        out = BytesIO()
        Image.linear_gradient("L").resize((16, 16)).save(out, kind)
        data = out.getvalue()
        step = max(1, len(data) // 60)
        for at in range(0, len(data), step):
            for broken in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
                assert outcome(broken) in ("decoded", *Reason)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("scan.jpg", b"%PDF-1.7 ...", "PDF"),
        ("photo.png", b"<!DOCTYPE html><title>Not found", "HTML"),
        ("photo.png", b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        ("phone.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "brand b'heic'"),
        ("drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n(x) show", "PostScript"),
        ("hopper.ppm", b"P6 16 16 255 " + b"\0" * 768, "netpbm"),
        ("notes.txt", b"some words about a picture", "b'some words a'"),
    ],
)
def test_other_formats_are_named_by_their_content(name: str, data: bytes, said: str) -> None:
    reason, detail = refused(data, name)
    assert reason is Reason.UNSUPPORTED_FORMAT
    assert said in detail
    assert "expected one of jpeg png webp gif tiff bmp avif" in detail


def test_content_that_is_nothing_is_corrupt_where_the_name_claims_an_image() -> None:
    reason, detail = refused(b"\x8f\x1e\x00 garbage", "holiday/beach.JPG")
    assert reason is Reason.CORRUPT_IMAGE
    assert detail == "named as JPEG, but the content starts with b'\\x8f\\x1e\\x00 garbage'"


def test_a_wrong_ending_does_not_matter() -> None:
    assert picture_facts(noise("PNG"), thumbnails=False, name="in-truth-a-png.jpg").width == 120


def webp_canvas(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\x00\x00\x00" + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(50_000, 50_000, png_chunk(b"IEND", b"")), id="png"),
        pytest.param(
            b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\x01\0\x01\0\0\x02\x01L\0;", id="gif"
        ),
        pytest.param(
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 30_000, 30_000, 1, 24, *[0] * 6),
            id="bmp",
        ),
        pytest.param(webp_canvas(16_384, 16_384), id="webp"),
        pytest.param(
            png(20, 20, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * (70 << 20)))),
            id="compressed text in a png",
        ),
    ],
)
def test_bombs_are_refused_by_their_headers(data: bytes) -> None:
    assert len(data) < 100_000
    reason, detail = refused(data)
    assert reason is Reason.DECOMPRESSION_BOMB, detail


def test_our_pixel_limit_holds_whatever_pillows_own_says(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert (
        refused(png(50_000, 50_000, png_chunk(b"IEND", b"")))[1]
        == "50000 x 50000 px, at most 120000000 are decoded"
    )


def test_a_picture_that_exhausts_the_memory_is_a_bomb(monkeypatch) -> None:
    def exhausted(_: object) -> None:
        raise MemoryError

    monkeypatch.setitem(pictures._OPENERS, "PNG", exhausted)
    assert refused(noise("PNG"))[0] is Reason.DECOMPRESSION_BOMB


def test_a_huge_file_is_not_read_at_all() -> None:
    with pytest.raises(PictureError, match="at most 268435456 are read"):
        pictures.check_file_size(MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(("size", "fits"), [((16, 16), True), ((15, 4000), False), ((1, 1), False)])
def test_the_shorter_side_has_a_minimum(size: tuple[int, int], fits: bool) -> None:
    out = BytesIO()
    Image.new("RGB", size).save(out, "PNG")
    if fits:
        assert open_picture(out.getvalue()).size == size
    else:
        reason, detail = refused(out.getvalue())
        assert reason is Reason.IMAGE_TOO_SMALL
        assert detail == f"{size[0]} x {size[1]} px, expected at least 16 on each side"


def test_a_colour_space_that_pillow_cannot_convert_is_unsupported() -> None:
    out = BytesIO()
    Image.new("LAB", (20, 20)).save(out, "TIFF")
    assert refused(out.getvalue()) == (
        Reason.UNSUPPORTED_FORMAT,
        "TIFF: colour space LAB is not supported",
    )
