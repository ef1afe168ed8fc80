"""A picture's signature: perceptual hashes, the small grey picture that they are of, its colours.

    thumbnail (JPEG) ┬ grey, 32 × 32 ─ itself and 24 crops, 16 × 16 ─ DCT ─ signs ─> 25 × 64 bits
                     │               └─> 1,024 grey levels
                     └ Cb and Cr, 8 × 8 ─> 2 × 64 levels

The hash is the classic one of low DCT frequencies (Zauner 2010), with signs in place of the usual
comparison with the median: mirroring a picture turns the sign of every odd horizontal frequency and
of nothing else, so the hash of the mirror image is the hash with these bits turned, exactly. The
mean (frequency 0, 0) says nothing of what is seen; the next even horizontal frequency stands there.

It is made from the thumbnail that rows carry. So no file is read again, and a published row whose
file is gone has the signature that it had.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, JpegImagePlugin

from tasks.dedupe.pictures.crops import COARSE, SIDE, SPANS, WINDOWS, cells

FREQUENCIES = 8
"""In each direction: 8 × 8 signs are 64 bits."""

COLOURS = 8
"""Cells in each direction that colour is kept of: few enough that a crop shifts little between
them, enough that a shape of another colour fills one."""

GREY_BYTES = SIDE * SIDE
COLOUR_BYTES = COLOURS * COLOURS
"""Of Cb, and as many of Cr."""

HASH_BYTES = WINDOWS * FREQUENCIES * FREQUENCIES // 8
LEVEL_BYTES = GREY_BYTES + 2 * COLOUR_BYTES
SIGNATURE_BYTES = HASH_BYTES + LEVEL_BYTES

SIGNATURE_VERSION = 2
"""Raised when the same thumbnail would give another signature."""

_SCALE = 1 << 10
"""The cosines are rounded to this fraction: sums of products are then whole numbers below 2^53,
exact in float64 in whatever order a BLAS adds them."""


def _kernels() -> np.ndarray:
    """What makes frequencies 0 to 8 of each span's cells: float64 `[45, 32]`, whole numbers."""
    frequency = np.arange(FREQUENCIES + 1)[:, None]
    sample = np.arange(COARSE)[None]
    cosines = np.round(_SCALE * np.cos(np.pi * frequency * (2 * sample + 1) / (2 * COARSE)))
    return (cosines @ cells()).reshape(-1, SIDE)


_KERNELS = _kernels()


def _mirror_bits() -> int:
    odd = np.tile(np.arange(FREQUENCIES) % 2 == 1, FREQUENCIES)
    return int.from_bytes(np.packbits(odd).tobytes(), "little")


MIRROR = _mirror_bits()
"""The bits that mirroring turns: odd horizontal frequencies."""


def levels(thumbnail: bytes) -> np.ndarray:
    """The picture in a JPEG as levels, uint8 `[1152]`: grey, 32 × 32, then Cb and Cr, 8 × 8 each,
    row by row; both sides scaled to that."""
    picture: Image.Image = JpegImagePlugin.JpegImageFile(BytesIO(thumbnail))
    picture.draft("YCbCr", (SIDE, SIDE))  # as it is stored, and no larger than it must be
    bands = picture.convert("YCbCr").split()
    small = [
        band.resize((side, side), Image.Resampling.BOX)
        for band, side in zip(bands, (SIDE, COLOURS, COLOURS), strict=True)
    ]
    return np.concatenate([np.asarray(band).reshape(-1) for band in small])


def hashes(greys: np.ndarray) -> np.ndarray:
    """The hashes of each grey picture (uint8 `[n, 32, 32]`) and its crops: uint64 `[n, 25]`.

    The first is that of the picture itself; window `5 r + c` has the rows of span r and the columns
    of span c.
    """
    count, each = len(greys), FREQUENCIES + 1
    found = _KERNELS @ greys.astype(np.float64) @ _KERNELS.T  # [n, 45, 45]
    windows = found.reshape(count, SPANS, each, SPANS, each).transpose(0, 1, 3, 2, 4)
    signs = windows[..., :FREQUENCIES, :FREQUENCIES] > 0
    signs[..., 0, 0] = windows[..., 0, FREQUENCIES] > 0
    bits = np.packbits(signs.reshape(count, WINDOWS, -1), axis=2)
    return np.ascontiguousarray(bits).view("<u8")[:, :, 0].astype(np.uint64)


def mirrored(found: np.ndarray) -> np.ndarray:
    """The hashes (uint64) of the mirror images of pictures with these hashes."""
    return found ^ np.uint64(MIRROR)


def signatures(levels: np.ndarray) -> np.ndarray:
    """The signature of each picture, given its levels (uint8 `[n, 1152]`): uint8 `[n, 1352]`.

    The levels, and then the hashes, eight bytes each: a signature can stand for its levels.
    """
    greys = levels[:, :GREY_BYTES].reshape(-1, SIDE, SIDE)
    return np.hstack([levels, hashes(greys).astype("<u8").view(np.uint8)])


def hashes_of(signed: np.ndarray) -> np.ndarray:
    """The hashes in signatures: uint64 `[n, 25]`."""
    held = np.ascontiguousarray(signed[:, LEVEL_BYTES:])
    return held.view("<u8").astype(np.uint64, copy=False)
