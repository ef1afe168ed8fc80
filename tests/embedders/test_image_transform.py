"""Transforms as numbers: the libraries' own pixels, by Pillow to the bit, by tensors nearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tasks.embedders.image_transform import ImageTransform
from tasks.embedders.read_transform import read_transform

OPEN_CLIP = {
    "shortest": {"size": 224},
    "oblong": {"size": (96, 160)},
    "longest": {"size": 128, "resize_mode": "longest", "fill_color": 7},
    "squash": {"size": (96, 160), "resize_mode": "squash"},
    "bilinear": {"size": 64, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3},
}

TIMM = {
    "center": {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"},
    "whole": {"input_size": (3, 160, 160), "crop_pct": 1.0, "interpolation": "bilinear"},
    "oblong": {"input_size": (3, 96, 160), "crop_pct": 0.9},
    "squash": {"input_size": (3, 96, 160), "crop_pct": 0.9, "crop_mode": "squash"},
    "border": {"input_size": (3, 128, 128), "crop_pct": 0.95, "crop_mode": "border"},
    "lanczos": {"input_size": (3, 64, 64), "interpolation": "lanczos"},
}

SIZES = [(224, 640), (641, 225), (33, 60), (500, 500), (17, 2000)]


def library_transform(library: str, case: str) -> Any:
    if library == "open_clip":
        from open_clip.transform import PreprocessCfg, image_transform_v2

        return image_transform_v2(PreprocessCfg(**OPEN_CLIP[case]), is_train=False)
    from timm.data import create_transform

    return create_transform(**TIMM[case], is_training=False)


CASES = [("open_clip", case) for case in OPEN_CLIP] + [("timm", case) for case in TIMM]


def photograph(height: int, width: int) -> Image.Image:
    """Blurred noise: smooth like a photograph, with something at every scale."""
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2))


@pytest.mark.parametrize(("library", "case"), CASES)
def test_a_transform_that_is_read_gives_the_librarys_own_pixels(library: str, case: str) -> None:
    theirs = library_transform(library, case)
    ours = read_transform(theirs)
    assert ours is not None
    ours = ImageTransform.from_json(json.loads(json.dumps(ours.to_json())))

    for size in SIZES:
        picture = photograph(*size)
        expected = theirs(picture).numpy()
        by_pillow = ours.of_picture(picture)
        by_tensors = ours.of_pixels(np.array(picture))
        if size[1] < 1000:
            np.testing.assert_allclose(ours.normalised(by_pillow), expected, atol=1e-5)
        assert by_pillow.dtype == by_tensors.dtype == np.uint8
        assert np.abs(by_tensors.astype(int) - by_pillow).max() <= 2
        found = ours.normalised(by_tensors)
        cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
        assert 1 - cosine < 1e-4


def test_a_slender_picture_is_never_resized_whole() -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    theirs = image_transform_v2(PreprocessCfg(size=224), is_train=False)
    ours = read_transform(theirs)
    assert ours is not None
    picture = photograph(16, 20_000)
    expected = theirs(picture).numpy()
    np.testing.assert_allclose(ours.normalised(ours.of_picture(picture)), expected, atol=0.02)

    strip = np.zeros((16, 1_000_000, 3), np.uint8)  # 224 x 14 million pixels: 9 GB
    assert ours.of_pixels(strip).shape == (3, 224, 224)


class Inverted:
    """A step that no library has."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture


def test_a_transform_with_an_unknown_step_is_not_read() -> None:
    theirs = library_transform("timm", "center")
    theirs.transforms.insert(1, Inverted())
    assert read_transform(theirs) is None
    assert read_transform(lambda picture: picture) is None


def test_a_known_step_that_does_something_else_is_found_out(monkeypatch: Any) -> None:
    theirs = library_transform("open_clip", "shortest")
    crop = theirs.transforms[1]
    monkeypatch.setattr(type(crop), "forward", lambda self, picture: picture.crop((0, 0, 224, 224)))
    assert read_transform(theirs) is None


def test_training_transforms_are_not_read() -> None:
    from timm.data import create_transform

    assert read_transform(create_transform(224, is_training=True)) is None


def test_photographs_come_out_nearly_alike(shared: Path) -> None:
    theirs = library_transform("open_clip", "shortest")
    ours = read_transform(theirs)
    assert ours is not None
    from tasks.store.pictures import open_picture, open_pixels

    for file in sorted((shared / "data/images/caltech101").glob("*/image_0007.jpg")):
        content = file.read_bytes()
        expected = theirs(open_picture(content)).numpy()
        found = ours.normalised(ours.of_pixels(open_pixels(content)))
        cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
        assert 1 - cosine < 1e-4
