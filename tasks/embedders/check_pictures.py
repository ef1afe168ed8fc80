"""The 64 pictures of the engine check: drawn from a seed, so that every engine is asked the same.

Each is a smooth background with a few coloured shapes and some grain, from icon to photograph in
size and from upright to wide in shape: smooth areas, edges and fine texture as real pictures have.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

PICTURES = 64
SEED = 2026
SIZES = (64, 96, 160, 224, 256, 320, 400, 480)
"""Sides in pixels: below, at and above what vision models take in."""

SHAPES = 6
GRAIN = 12.0
"""Standard deviation of the noise, of 255 steps: that of a photograph in poor light."""


def check_pictures() -> list[Image.Image]:
    """64 upright RGB pictures; the same in every process."""
    rng = np.random.default_rng(SEED)
    return [_picture(rng) for _ in range(PICTURES)]


def _picture(rng: np.random.Generator) -> Image.Image:
    width, height = (int(side) for side in rng.choice(SIZES, 2))
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(SHAPES):
        left, right = np.sort(rng.integers(0, width, 2))
        top, bottom = np.sort(rng.integers(0, height, 2))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        shape((int(left), int(top), int(right), int(bottom)), fill=colour)
    grain = rng.normal(0.0, GRAIN, (height, width, 3)).astype(np.float32)
    pixels = np.clip(np.asarray(picture, np.float32) + grain, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))
