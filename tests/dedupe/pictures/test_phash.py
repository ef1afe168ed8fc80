"""The perceptual hash: what it shrugs off, and that its mirror image is exact."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import COPIES, jpeg, scene
from PIL import Image
from scipy.fft import dctn

from tasks.dedupe.pictures.crops import SIDE, SPANS
from tasks.dedupe.pictures.phash import (
    COLOUR_BYTES,
    COLOURS,
    GREY_BYTES,
    LEVEL_BYTES,
    SIGNATURE_BYTES,
    hashes,
    hashes_of,
    levels,
    mirrored,
    signatures,
)
from tasks.store.pictures import open_picture, thumbnail


def small(data: bytes) -> np.ndarray:
    """All levels of the picture in a file."""
    return levels(thumbnail(open_picture(data)))


def grey(data: bytes) -> np.ndarray:
    return small(data)[:GREY_BYTES].reshape(SIDE, SIDE)


def test_the_hash_of_the_mirror_image_is_the_mirrored_hash():
    """Of crops, too: what is cut off at the left of the one goes at the right of the other."""
    greys = np.random.default_rng(0).integers(0, 256, (500, SIDE, SIDE), np.uint8)
    places = [0, *range(SPANS - 1, 0, -1)]
    turned = hashes(greys[:, :, ::-1]).reshape(500, SPANS, SPANS)[:, :, places]
    assert (turned.reshape(500, -1) == mirrored(hashes(greys))).all()
    assert (mirrored(mirrored(hashes(greys))) == hashes(greys)).all()


def test_its_bits_are_the_signs_of_the_lowest_frequencies():
    greys = np.random.default_rng(1).integers(0, 256, (50, SIDE, SIDE), np.uint8)
    halved = greys.reshape(50, 16, 2, 16, 2).sum((2, 4), dtype=np.float64)
    found = dctn(halved, axes=(1, 2), norm="ortho")
    signs = found[:, :8, :8] > 0
    signs[:, 0, 0] = found[:, 0, 8] > 0
    expected = np.packbits(signs.reshape(50, 64), axis=1).view("<u8")[:, 0]
    assert (hashes(greys)[:, 0] == expected).all()


def test_it_does_not_depend_on_how_many_are_hashed_at_once():
    greys = np.random.default_rng(2).integers(0, 256, (40, SIDE, SIDE), np.uint8)
    alone = np.concatenate([hashes(greys[i : i + 1]) for i in range(40)])
    assert (hashes(greys) == alone).all()


@pytest.mark.parametrize("copy", [name for name in COPIES if name not in ("mirrored", "cropped")])
def test_copies_differ_in_few_bits(copy):
    both = np.stack([grey(jpeg(scene(3))), grey(COPIES[copy](scene(3)))])
    one, other = hashes(both)[:, 0]
    assert np.bitwise_count(one ^ other) <= 8


def test_strangers_differ_in_many():
    found = hashes(np.stack([grey(jpeg(scene(seed))) for seed in range(30)]))[:, 0]
    apart = np.bitwise_count(found[:, None] ^ found[None])[np.triu_indices(30, 1)]
    assert 28 < apart.mean() < 36  # of 64
    assert apart.min() > 14


def test_a_signature_is_the_hashes_and_the_levels():
    made = np.random.default_rng(3).integers(0, 256, (3, LEVEL_BYTES), np.uint8)
    signed = signatures(made)
    assert (signed.shape, signed.dtype) == ((3, SIGNATURE_BYTES), np.uint8)
    assert (hashes_of(signed) == hashes(made[:, :GREY_BYTES].reshape(3, SIDE, SIDE))).all()
    assert (signed[:, :LEVEL_BYTES] == made).all()


def test_colours_stand_where_they_are_in_the_picture():
    picture = Image.new("RGB", (160, 120), (128, 128, 128))
    picture.paste((255, 0, 0), (0, 0, 80, 60))  # red at the top left
    picture.paste((0, 0, 255), (80, 60, 160, 120))  # blue at the bottom right
    half = COLOURS // 2
    blue, red = small(jpeg(picture, 95))[GREY_BYTES:].reshape(2, COLOURS, COLOURS).astype(int)
    assert np.abs(blue[half + 1 :, half + 1 :] - 255).max() < 8
    assert np.abs(red[: half - 1, : half - 1] - 255).max() < 8
    assert np.abs(np.stack([blue, red])[:, : half - 1, half + 1 :] - 128).max() < 4


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_grey_picture_has_no_colour(mode):
    found = levels(jpeg(scene(1).convert("L").convert(mode)))[GREY_BYTES:]
    assert found.tolist() == [128] * (2 * COLOUR_BYTES)


def test_a_thumbnail_smaller_than_the_grey_picture_is_enlarged():
    tiny = Image.new("RGB", (20, 16), "white")
    assert grey(jpeg(tiny)).shape == (SIDE, SIDE)


def test_a_crop_is_lined_up_with_the_window_that_it_leaves():
    picture = scene(4)
    width, height = picture.size
    left, top = round(width * 0.05), round(height * 0.05)
    crop = jpeg(picture.crop((left, 0, width, height - top)))
    whole, cropped = hashes(np.stack([grey(jpeg(picture)), grey(crop)]))
    apart = np.bitwise_count(whole ^ cropped[0]).reshape(SPANS, SPANS)
    assert apart[1, SPANS - 1] <= 4  # its rows end, its columns begin where the crop's do
    assert apart[SPANS - 1, 1] > 8
