"""A picture's signature: its perceptual hash, and a small grey picture that confirms a match.

    thumbnail (JPEG) ─ grey, 32 × 32 ─ DCT, lowest 64 frequencies ─ signs ─> 64 bits
                                     └─> 1,024 grey levels

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

SIDE = 32
"""Of the grey picture; the hash needs as much, and half of it confirms."""

FREQUENCIES = 8
"""In each direction: 8 × 8 signs are 64 bits."""

HASH_BYTES = FREQUENCIES * FREQUENCIES // 8
SIGNATURE_BYTES = HASH_BYTES + SIDE * SIDE

SIGNATURE_VERSION = 1
"""Raised when the same thumbnail would give another signature."""

_SCALE = 1 << 20
"""The cosines are rounded to this fraction: sums of products are then whole numbers below 2^53,
exact in float64 in whatever order a BLAS adds them."""


def _cosines() -> np.ndarray:
    """The lowest 9 frequencies of a DCT-II over `SIDE` samples, whole numbers as float64."""
    frequency = np.arange(FREQUENCIES + 1)[:, None]
    sample = np.arange(SIDE)[None]
    return np.round(_SCALE * np.cos(np.pi * frequency * (2 * sample + 1) / (2 * SIDE)))


_COSINES = _cosines()


def _mirror_bits() -> int:
    odd = np.tile(np.arange(FREQUENCIES) % 2 == 1, FREQUENCIES)
    return int.from_bytes(np.packbits(odd).tobytes(), "little")


MIRROR = _mirror_bits()
"""The bits that mirroring turns: odd horizontal frequencies."""


def grey(thumbnail: bytes) -> np.ndarray:
    """The picture in a JPEG as uint8 `[32, 32]`, both sides scaled to that."""
    picture: Image.Image = JpegImagePlugin.JpegImageFile(BytesIO(thumbnail))
    picture.draft("L", (SIDE, SIDE))  # brightness alone, and no larger than it must be
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small)


def hashes(greys: np.ndarray) -> np.ndarray:
    """The perceptual hash of each grey picture (uint8 `[n, 32, 32]`): uint64 `[n]`."""
    levels = greys.astype(np.float64)
    found = _COSINES[:FREQUENCIES] @ levels @ _COSINES.T  # [n, 8, 9]
    signs = found[:, :, :FREQUENCIES] > 0
    signs[:, 0, 0] = found[:, 0, FREQUENCIES] > 0
    bits = np.packbits(signs.reshape(len(greys), -1), axis=1)
    return np.ascontiguousarray(bits).view("<u8")[:, 0]


def mirrored(found: np.ndarray) -> np.ndarray:
    """The hashes (uint64) of the mirror images of pictures with these hashes."""
    return found ^ np.uint64(MIRROR)


def signatures(greys: np.ndarray) -> np.ndarray:
    """The signature of each grey picture (uint8 `[n, 32, 32]`): uint8 `[n, 1032]`.

    Eight bytes of hash, and then the grey levels, row by row.
    """
    out = np.empty((len(greys), SIGNATURE_BYTES), np.uint8)
    out[:, :HASH_BYTES] = hashes(greys).astype("<u8")[:, None].view(np.uint8)
    out[:, HASH_BYTES:] = greys.reshape(len(greys), SIDE * SIDE)
    return out


def hashes_of(signed: np.ndarray) -> np.ndarray:
    """The hashes in signatures: uint64 `[n]`."""
    return np.ascontiguousarray(signed[:, :HASH_BYTES]).view("<u8")[:, 0].astype(np.uint64)
