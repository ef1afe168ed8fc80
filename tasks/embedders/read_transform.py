"""open_clip's and timm's inference transforms, read into plain numbers where they can be.

    Compose([resize, crop?, to RGB?, to tensor, normalise]) ─ read ─ proven alike → ImageTransform

What is read is proven on made-up pictures before it is believed: a step that we know by name but
that does something else in another version of its library gives None, and the library's own
transform is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.embedders.image_transform import ImageTransform

if TYPE_CHECKING:
    from PIL.Image import Image

Transform = Callable[["Image"], Any]
"""An upright RGB picture to a float32 tensor `[3, h, w]`."""

LIBRARIES = frozenset({"torchvision", "open_clip", "timm"})

ORDER = re.compile(r"(Resize|ResizeKeepRatio) ((CenterCrop|CenterCropOrPad) )?ToTensor Normalize")
"""The steps that can be read, by name, in the only order."""

SYNONYMS = {"MaybeToTensor": "ToTensor"}

ALREADY_SO = frozenset({"MaybeConvertMode", "_convert_to_rgb"})
"""Steps that leave a picture as it is that is RGB already."""

PROBES = ((37, 50), (61, 23), (16, 16), (300, 211))
"""Heights and widths of made-up pictures: either way up, square, below and above usual inputs."""

TOLERANCE = 1e-5
"""Normalised values differ by float32's rounding alone; one level of 255 is over 1e-2."""


def read_transform(transform: Transform) -> ImageTransform | None:
    """The transform as numbers; None where it holds anything that is not known and proven."""
    steps = [
        step
        for step in getattr(transform, "transforms", ())
        if _name(step) not in ALREADY_SO or not _known(step)
    ]
    names = [SYNONYMS.get(_name(step), _name(step)) for step in steps]
    if not all(map(_known, steps)) or not ORDER.fullmatch(" ".join(names)):
        return None
    by_name = dict(zip(names, steps, strict=True))
    resize, normalise = steps[0], by_name["Normalize"]
    crop = steps[1] if len(steps) == 4 else None
    sizes = _size_rule(resize)
    interpolation = getattr(getattr(resize, "interpolation", None), "value", None)
    if sizes is None or not isinstance(interpolation, str):
        return None
    found = ImageTransform(
        rule=sizes[0],
        size=sizes[1],
        interpolation=interpolation,
        crop=None if crop is None else _pair(crop.size),
        fill=_three(getattr(crop, "fill", 0), int),
        mean=_three(normalise.mean, float),
        std=_three(normalise.std, float),
    )
    return found if _is_proven(found, transform) else None


def _name(step: Any) -> str:
    return getattr(step, "__name__", None) or type(step).__name__


def _known(step: Any) -> bool:
    module = getattr(step, "__module__", None) or type(step).__module__
    return module.split(".")[0] in LIBRARIES


def _size_rule(resize: Any) -> tuple[str, tuple[int, int]] | None:
    """The rule and size of `ImageTransform` for a resizing step."""
    if _name(resize) == "ResizeKeepRatio":
        rule = {0.0: "around", 1.0: "inside"}.get(resize.longest)
        random = resize.random_scale_prob or resize.random_aspect_prob
        return None if rule is None or random else (rule, _pair(resize.size))
    if getattr(resize, "max_size", None) is not None:
        return None
    single = isinstance(resize.size, int) or len(resize.size) == 1
    return ("shortest" if single else "exact"), _pair(resize.size)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return int(size[0]), int(size[-1])


def _three(values: Any, kind: Callable[[Any], Any]) -> Any:
    """One value for each of three channels."""
    listed = np.atleast_1d(np.asarray(values)).tolist()
    return tuple(kind(value) for value in (listed * 3 if len(listed) == 1 else listed))


def _is_proven(found: ImageTransform, transform: Transform) -> bool:
    from PIL import Image

    if len(found.mean) != 3 or len(found.std) != 3 or len(found.fill) != 3:
        return False
    noise = np.random.default_rng(0)
    for height, width in PROBES:
        picture = Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))
        expected = transform(picture).numpy()
        ours = found.normalised(found.of_picture(picture))
        if ours.shape != expected.shape or not np.allclose(ours, expected, atol=TOLERANCE, rtol=0):
            return False
    return True
