"""An inference transform as plain numbers: what a picture goes through before an image model.

    upright RGB ─ resize ─ crop or pad at the centre → uint8 [3, h, w] ─ normalise, a batch at once

open_clip and timm do this one step after the other with Pillow; the same numbers drive tensors
here, at a third of the time. Pixels stay 8-bit up to the batch, a quarter of the memory of float32.
Where a transform of theirs says something else, `read_transform` does not give one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ON_TENSORS = frozenset({"bilinear", "bicubic"})
"""Interpolations that torch computes as Pillow does, antialiased and in 8 bit: on photographs 0.003
levels of 255 away on average, never more than 2."""

SLENDER = 8
"""Where the resized picture has more than so many times the pixels of its crop, only the crop is
computed: 16 by 7 million pixels, scaled up to a shorter side of 224, would need 70 GB."""

Size = tuple[int, int]
"""Height, width."""


@dataclass(frozen=True)
class ImageTransform:
    """Resize by `rule` to `size`, crop or pad at the centre to `crop`, normalise.

    `rule` is `shortest` (the shorter side becomes `size[0]`), `inside` (no side exceeds `size`),
    `around` (no side is below `size`) or `exact`. `mean` and `std` are of values from 0 to 1.
    """

    rule: str
    size: Size
    interpolation: str  # Pillow's name for it, in lower case
    crop: Size | None
    fill: tuple[int, int, int]  # what a smaller picture is padded with
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageTransform:
        """The transform whose `to_json` gave `values`."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Its fields, for a file."""
        return asdict(self)

    def resized(self, height: int, width: int) -> Size:
        """The size a picture is resized to, before it is cropped."""
        return _RULES[self.rule](self.size, height, width)

    def of_picture(self, picture: Image) -> np.ndarray:
        """An upright RGB picture by Pillow, as the libraries do it: uint8 `[3, h, w]`."""
        from PIL import Image

        size = self.resized(picture.height, picture.width)
        how = Image.Resampling[self.interpolation.upper()]
        if self.crop is not None and _is_slender(size, self.crop):
            return _channels_first(_slender(picture, size, self.crop, self.fill, how))
        if size != (picture.height, picture.width):
            picture = picture.resize(size[::-1], how)
        return _channels_first(_centred(np.asarray(picture), self.crop, self.fill))

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """The same by torch, from uint8 `[h, w, 3]`: uint8 `[3, h, w]`."""
        height, width, _ = pixels.shape
        size = self.resized(height, width)
        slender = self.crop is not None and _is_slender(size, self.crop)
        if self.interpolation not in ON_TENSORS or slender:
            from PIL import Image

            return self.of_picture(Image.fromarray(pixels))
        if size != (height, width):
            pixels = _resize(pixels, size, self.interpolation)
        return _channels_first(_centred(pixels, self.crop, self.fill))

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """A batch as the model takes it: uint8 `[n, 3, h, w]` → float32 of the same shape."""
        scale, shift = self.scale_and_shift()
        return pixels * scale + shift

    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """`pixels * scale + shift` normalises: float32 `[3, 1, 1]` each."""
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        scale, shift = 1 / (255 * std), -mean / std
        return (
            scale.astype(np.float32).reshape(3, 1, 1),
            shift.astype(np.float32).reshape(3, 1, 1),
        )


def _shortest(size: Size, height: int, width: int) -> Size:
    short, long = sorted((height, width))
    longer = int(size[0] * long / short)
    return (size[0], longer) if height <= width else (longer, size[0])


def _ratio(choose: Callable[[float, float], float], size: Size, height: int, width: int) -> Size:
    ratio = choose(height / size[0], width / size[1])
    return round(height / ratio), round(width / ratio)


_RULES: dict[str, Callable[[Size, int, int], Size]] = {
    "shortest": _shortest,
    "inside": lambda size, height, width: _ratio(max, size, height, width),
    "around": lambda size, height, width: _ratio(min, size, height, width),
    "exact": lambda size, height, width: size,
}


def _resize(pixels: np.ndarray, size: Size, interpolation: str) -> np.ndarray:
    """uint8 `[h, w, 3]` to `[*size, 3]`, antialiased, in 8 bit throughout and in one thread."""
    import torch

    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    out = torch.nn.functional.interpolate(tensor, size, mode=interpolation, antialias=True)
    return out[0].permute(1, 2, 0).numpy()


def _is_slender(size: Size, crop: Size) -> bool:
    return size[0] * size[1] > SLENDER * crop[0] * crop[1]


def _slender(
    picture: Image, size: Size, crop: Size, fill: tuple[int, int, int], how: int
) -> np.ndarray:
    """`picture` resized to `size` and cropped, of which only the crop is computed."""
    wanted = (min(size[0], crop[0]), min(size[1], crop[1]))
    top, left = (round((whole - part) / 2) for whole, part in zip(size, wanted, strict=True))
    down, across = picture.height / size[0], picture.width / size[1]
    box = (left * across, top * down, (left + wanted[1]) * across, (top + wanted[0]) * down)
    return _centred(np.asarray(picture.resize(wanted[::-1], how, box)), crop, fill)


def _centred(pixels: np.ndarray, crop: Size | None, fill: tuple[int, int, int]) -> np.ndarray:
    """The middle of `[h, w, 3]`, padded first where it is smaller: `[*crop, 3]`."""
    if crop is None:
        return pixels
    height, width, _ = pixels.shape
    more = (max(0, crop[0] - height), max(0, crop[1] - width))
    if any(more):
        padded = np.empty((height + more[0], width + more[1], 3), np.uint8)
        padded[:] = fill
        top, left = more[0] // 2, more[1] // 2
        padded[top : top + height, left : left + width] = pixels
        pixels = padded
    top, left = round((pixels.shape[0] - crop[0]) / 2), round((pixels.shape[1] - crop[1]) / 2)
    return pixels[top : top + crop[0], left : left + crop[1]]


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    """`[h, w, 3]` → `[3, h, w]`: a view, whose channels still lie side by side.

    Decoders write them so and image models read them so: the order in memory never changes.
    """
    return np.ascontiguousarray(pixels).transpose(2, 0, 1)
