"""The perceptual hash: what it shrugs off, and that its mirror image is exact."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import COPIES, jpeg, scene
from PIL import Image
from scipy.fft import dctn

from tasks.dedupe.phash import (
    SIDE,
    SIGNATURE_BYTES,
    grey,
    hashes,
    hashes_of,
    mirrored,
    signatures,
)
from tasks.store.pictures import open_picture, thumbnail


def levels(data: bytes) -> np.ndarray:
    return grey(thumbnail(open_picture(data)))


def test_the_hash_of_the_mirror_image_is_the_mirrored_hash():
    greys = np.random.default_rng(0).integers(0, 256, (500, SIDE, SIDE), np.uint8)
    assert (hashes(greys[:, :, ::-1]) == mirrored(hashes(greys))).all()
    assert (mirrored(mirrored(hashes(greys))) == hashes(greys)).all()


def test_its_bits_are_the_signs_of_the_lowest_frequencies():
    greys = np.random.default_rng(1).integers(0, 256, (50, SIDE, SIDE), np.uint8)
    found = dctn(greys.astype(np.float64), axes=(1, 2), norm="ortho")
    signs = found[:, :8, :8] > 0
    signs[:, 0, 0] = found[:, 0, 8] > 0
    expected = np.packbits(signs.reshape(50, 64), axis=1).view("<u8")[:, 0]
    assert (hashes(greys) == expected).all()


def test_it_does_not_depend_on_how_many_are_hashed_at_once():
    greys = np.random.default_rng(2).integers(0, 256, (40, SIDE, SIDE), np.uint8)
    alone = np.concatenate([hashes(greys[i : i + 1]) for i in range(40)])
    assert (hashes(greys) == alone).all()


@pytest.mark.parametrize("copy", [name for name in COPIES if name not in ("mirrored", "cropped")])
def test_copies_differ_in_few_bits(copy):
    both = np.stack([levels(jpeg(scene(3))), levels(COPIES[copy](scene(3)))])
    one, other = hashes(both)
    assert np.bitwise_count(one ^ other) <= 8


def test_strangers_differ_in_many():
    found = hashes(np.stack([levels(jpeg(scene(seed))) for seed in range(30)]))
    apart = np.bitwise_count(found[:, None] ^ found[None])[np.triu_indices(30, 1)]
    assert 28 < apart.mean() < 36  # of 64
    assert apart.min() > 14


def test_a_signature_is_the_hash_and_the_grey_levels():
    greys = np.random.default_rng(3).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    signed = signatures(greys)
    assert (signed.shape, signed.dtype) == ((3, SIGNATURE_BYTES), np.uint8)
    assert (hashes_of(signed) == hashes(greys)).all()
    assert (signed[:, 8:].reshape(greys.shape) == greys).all()


def test_a_thumbnail_smaller_than_the_grey_picture_is_enlarged():
    tiny = Image.new("RGB", (20, 16), "white")
    assert levels(jpeg(tiny)).shape == (SIDE, SIDE)
