"""Plain JPEG and WebP files through torchvision's decoders, to the very pixels Pillow gives.

    header, read by Pillow ─ plain? ─ yes → torchvision → pixels
                                      no  → None: Pillow decodes it

They save the copy out of Pillow's own image memory: a third of a JPEG's decoding, a fifth of a
WebP's. Everything else stays with Pillow: what is not plain (alpha, CMYK, more than one frame),
PNG (a tenth would be saved, and libpng writes its warnings to stderr), GIF (torchvision decodes
all frames), and whatever torchvision cannot open, or no longer has: it has announced that its
decoders will go.

torchvision itself is not imported, which takes as long as torch does; its extension is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.store.image_formats import jpeg_segments_join

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

RGB = 3
"""torchvision's `ImageReadMode.RGB`: grey is brought to three channels."""


def plain(kind: str, header: ImageFile, data: bytes) -> bool:
    """Whether torchvision's decoder gives the pixels that Pillow gives for this file.

    `header` is the file as Pillow opened it, not loaded.
    """
    return kind in _PLAIN and _PLAIN[kind](header, data)


def decode(kind: str, data: bytes) -> np.ndarray | None:
    """The pixels as they are stored, not turned: uint8 `[h, w, 3]`; None where they cannot be had.

    Only for a file that is `plain` and whose size has been checked.
    """
    operators = _operators()
    if operators is None:
        return None
    import torch

    content = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy: bytes are read-only
    try:
        pixels = _CALLS[kind](operators, content)
    except RuntimeError:  # broken, or a kind that this torchvision was built without
        return None
    return pixels.permute(1, 2, 0).numpy()


def _jpeg(header: ImageFile, data: bytes) -> bool:
    # Bytes between segments decode, but torchvision's libjpeg tells them to stderr.
    return header.mode in ("RGB", "L") and jpeg_segments_join(data)


def _webp(header: ImageFile, data: bytes) -> bool:
    return data[12:16] == b"VP8 "  # lossy, without alpha, animation or EXIF


_PLAIN: dict[str, Callable[[ImageFile, bytes], bool]] = {"JPEG": _jpeg, "WEBP": _webp}

_CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "JPEG": lambda operators, content: operators.decode_jpeg(content, RGB, False),
    "WEBP": lambda operators, content: operators.decode_webp(content, RGB),
}


@lru_cache(maxsize=1)
def _operators() -> Any | None:
    """torchvision's image operators, or None where its extension cannot be loaded."""
    import torch

    package = find_spec("torchvision")
    places = list(package.submodule_search_locations or []) if package else []
    for library in (file for place in places for file in sorted(Path(place).glob("image*"))):
        if library.suffix not in (".so", ".pyd", ".dll"):
            continue
        try:
            torch.ops.load_library(str(library))
        except OSError:  # made for another torch
            continue
        if all(hasattr(torch.ops.image, f"decode_{kind.lower()}") for kind in _CALLS):
            return torch.ops.image
    return None
