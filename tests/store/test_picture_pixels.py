"""`open_pixels` gives what `open_picture` gives, whichever decoder opens the file."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from schemas.reasons import Reason
from tasks.store import pictures, tensor_decoders
from tasks.store.pictures import PictureError, open_picture, open_pixels


def scene(mode: str = "RGB", size: tuple[int, int] = (90, 61)) -> Image.Image:
    """Blurred noise, so that a wrong colour or turn shows everywhere."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def by_torchvision(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formats that torchvision decoded."""
    decode, formats = tensor_decoders.decode, []

    def noted(kind: str, data: bytes) -> np.ndarray | None:
        pixels = decode(kind, data)
        formats.extend([] if pixels is None else [kind])
        return pixels

    monkeypatch.setattr(tensor_decoders, "decode", noted)
    return formats


def outcome(opened: Callable[[bytes], object], data: bytes) -> np.ndarray | str:
    try:
        return np.asarray(opened(data))
    except PictureError as error:
        return str(error)


def both(data: bytes) -> np.ndarray | str:
    """What both give, which is the same."""
    expected, found = outcome(open_picture, data), outcome(open_pixels, data)
    if isinstance(expected, str) or isinstance(found, str):
        assert found is expected or found == expected
    else:
        np.testing.assert_array_equal(found, expected)
    return expected


QUICK = [
    pytest.param("RGB", "JPEG", {}, id="jpeg"),
    pytest.param("RGB", "JPEG", {"progressive": True, "subsampling": 0}, id="progressive"),
    pytest.param("RGB", "JPEG", {"subsampling": 1, "quality": 30}, id="coarse"),
    pytest.param("L", "JPEG", {}, id="grey-jpeg"),
    pytest.param("RGB", "WEBP", {}, id="webp"),
]

SLOW = [
    pytest.param("CMYK", "JPEG", {}, id="cmyk-jpeg"),
    pytest.param("RGBA", "WEBP", {}, id="webp-with-alpha"),
    pytest.param("RGB", "WEBP", {"lossless": True}, id="lossless-webp"),
    pytest.param("RGB", "PNG", {}, id="png"),
    pytest.param("RGBA", "PNG", {}, id="png-with-alpha"),
    pytest.param("P", "PNG", {}, id="palette"),
    pytest.param("I;16", "PNG", {}, id="16-bit"),
    pytest.param("P", "GIF", {}, id="gif"),
    pytest.param("RGB", "TIFF", {}, id="tiff"),
    pytest.param("RGB", "BMP", {}, id="bmp"),
]


@pytest.mark.parametrize(("mode", "kind", "options"), QUICK)
def test_plain_files_are_decoded_by_torchvision_to_the_same_pixels(
    mode: str, kind: str, options: dict, by_torchvision: list[str]
) -> None:
    pixels = both(encoded(scene(mode), kind, **options))
    assert by_torchvision == [kind]
    assert isinstance(pixels, np.ndarray)
    assert (pixels.shape, pixels.dtype) == ((61, 90, 3), np.uint8)


@pytest.mark.parametrize(("mode", "kind", "options"), SLOW)
def test_what_is_not_plain_stays_with_pillow(
    mode: str, kind: str, options: dict, by_torchvision: list[str]
) -> None:
    image = Image.fromarray(np.full((61, 90), 9_000, np.uint16)) if mode == "I;16" else scene(mode)
    if mode == "RGBA":
        image.putalpha(scene("L"))
    assert isinstance(both(encoded(image, kind, **options)), np.ndarray)
    assert by_torchvision == []


@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_turned_alike(
    orientation: int, by_torchvision: list[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = both(encoded(scene(), "JPEG", exif=exif))
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape[:2] == ((90, 61) if orientation in (5, 6, 7, 8) else (61, 90))
    assert pixels.flags.c_contiguous
    assert by_torchvision == ["JPEG"]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_damaged_files_are_refused_alike_or_decode_alike(kind: str, damage: str) -> None:
    data = bytearray(encoded(scene(size=(200, 150)), kind))
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    else:
        data[middle : middle + 40] = b"\xff" * 40
    both(bytes(data))


def test_bytes_between_segments_print_nothing(
    capfd: pytest.CaptureFixture[str], by_torchvision: list[str]
) -> None:
    data = encoded(scene(), "JPEG")
    tables = data.index(b"\xff\xdb")
    both(data[:tables] + bytes(5) + data[tables:])
    assert by_torchvision == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_bomb_is_refused_by_its_header(
    kind: str, by_torchvision: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 5_000)
    assert str(both(encoded(scene(), kind))).startswith(Reason.DECOMPRESSION_BOMB)
    assert by_torchvision == []


def test_large_pictures_wait_for_each_other_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE_PIXELS", 1_000)
    good = encoded(scene(), "JPEG")
    for data in (good, good[: len(good) // 2], good):
        both(data)
    assert not pictures._ONE_LARGE.locked()


def test_without_torchvisions_decoders_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_decoders, "_operators", lambda: None)
    assert isinstance(both(encoded(scene(), "JPEG")), np.ndarray)


@pytest.mark.parametrize("folder", ["exif", "imagededup", "pillow_odd"])
def test_real_and_odd_files_are_opened_alike(shared: Path, folder: str) -> None:
    files = [file for file in (shared / "data/images" / folder).rglob("*") if file.is_file()]
    opened = [both(file.read_bytes()) for file in files]
    assert sum(isinstance(each, np.ndarray) for each in opened) > 10
