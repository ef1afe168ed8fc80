"""The same picture from whatever file it lies in: RGB, upright, on white, the first frame."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from tasks.store import pictures, quiet_pillow
from tasks.store.pictures import open_picture, picture_facts, thumbnail


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def quarters(width: int = 40, height: int = 24) -> Image.Image:
    """Four colours, so that no turn or mirroring leaves the picture as it was."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    image.paste("yellow", (width // 2, height // 2, width, height))
    return image


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
    ],
)
def test_lossless_formats_give_the_pixels_that_went_in(kind: str, options: dict) -> None:
    assert same(open_picture(encoded(quarters(), kind, **options)), quarters())


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "AVIF"])
def test_other_formats_give_the_picture_up_to_their_compression(kind: str) -> None:
    found = open_picture(encoded(quarters(), kind))
    difference = np.abs(np.asarray(found, int) - np.asarray(quarters(), int))
    assert found.mode == "RGB"
    assert found.size == (40, 24)
    assert difference.mean() < 12


STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera held so stores an upright scene."""


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(9))
def test_every_exif_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    turn = STORED_AS.get(orientation)
    stored = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))

    found = open_picture(data)

    assert same(found, quarters())
    assert not found.getexif(), "nobody shall turn it again"


def test_exif_that_cannot_be_read_leaves_the_picture_as_it_is() -> None:
    data = encoded(quarters(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert same(open_picture(data), quarters())


@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_the_nine_orientations_of_a_photograph_are_one_picture(shared, scene: str) -> None:
    folder = shared / "data/images/exif"
    files = [folder / f"{scene}_{n}.jpg" for n in range(9)]
    found = [np.asarray(open_picture(f.read_bytes()).resize((60, 60)), int) for f in files]
    for other in found[1:]:
        assert np.abs(other - found[0]).mean() < 4, "each was compressed on its own"


def test_alpha_is_composited_on_white() -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 10, 20))
    found = open_picture(encoded(image, "PNG"))
    assert found.getpixel((0, 0)) == (0, 0, 255)
    assert found.getpixel((19, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_white(mode: str) -> None:
    image = Image.new("RGB", (20, 20), "black").convert(mode)
    hole = (0, 0, 0) if mode == "RGB" else image.getpixel((0, 0))
    found = open_picture(encoded(image, "PNG", transparency=hole))
    assert found.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        pytest.param(np.full((20, 20), 32896, np.uint16), 128, id="16 bit"),
        pytest.param(np.full((20, 20), 40, np.int32), 40, id="32 bit that hold 8"),
        pytest.param(np.full((20, 20), 0.5, np.float32), 127, id="float from 0 to 1"),
        pytest.param(np.full((20, 20), np.nan, np.float32), 0, id="not a number"),
    ],
)
def test_grey_of_many_bits_is_scaled_not_clipped(values: np.ndarray, grey: int) -> None:
    found = open_picture(encoded(Image.fromarray(values), "TIFF"))
    assert found.getpixel((0, 0)) == (grey, grey, grey)


def test_cmyk_becomes_rgb() -> None:
    data = encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "TIFF")
    assert open_picture(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_what_moves_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = open_picture(data).getpixel((10, 10))
    assert red > 240
    assert max(green, blue) < 15


def test_thumbnails_are_small_baseline_jpegs_and_always_the_same() -> None:
    data = encoded(quarters(600, 300), "PNG")
    facts = picture_facts(data, thumbnails=True)
    assert facts.thumbnail is not None
    small = Image.open(BytesIO(facts.thumbnail))
    assert (facts.width, facts.height) == (600, 300)
    assert (small.format, small.size, small.info.get("progressive")) == ("JPEG", (128, 64), None)
    assert facts.thumbnail == thumbnail(open_picture(data))
    assert picture_facts(data, thumbnails=False).thumbnail is None


@pytest.mark.parametrize(("size", "small"), [((20, 16), (20, 16)), ((16, 9000), (1, 128))])
def test_thumbnails_are_never_enlarged_nor_empty(size: tuple, small: tuple) -> None:
    assert Image.open(BytesIO(thumbnail(Image.new("RGB", size)))).size == small


def noisy_tiff() -> bytes:
    """A TIFF over which libtiff complains, straight on file descriptor 2."""
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    data = bytearray(encoded(Image.fromarray(noise), "TIFF", compression="tiff_adobe_deflate"))
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    return bytes(data)


def png_with_a_warning() -> bytes:
    """A PNG that says it moves but has no frame, of which Pillow warns."""
    data = encoded(quarters(), "PNG")
    body = b"acTL" + bytes(8)
    after_header = 8 + 25
    chunk = struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body))
    return data[:after_header] + chunk + data[after_header:]


def test_pillow_and_its_libraries_say_nothing_and_no_setting_leaks(capfd, recwarn) -> None:
    before = list(warnings.filters)
    limit, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES

    def decode_many() -> None:
        for _ in range(20):
            with pytest.raises(pictures.PictureError):
                open_picture(noisy_tiff())
            open_picture(png_with_a_warning())

    threads = [threading.Thread(target=decode_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert capfd.readouterr().err == ""
    assert recwarn.list == []
    assert list(warnings.filters) == before
    assert limit == Image.MAX_IMAGE_PIXELS
    assert truncated == ImageFile.LOAD_TRUNCATED_IMAGES


def test_the_filter_leaves_also_a_list_that_somebody_else_saved() -> None:
    before = list(warnings.filters)
    quiet_pillow.QUIET.__enter__()
    outer = warnings.catch_warnings()  # what another thread may do while one decodes
    outer.__enter__()
    quiet_pillow.QUIET.__exit__()
    outer.__exit__()
    assert list(warnings.filters) == before
