"""Sketches: on which side of 256 planes a vector lies, and what a row is sought by.

    whole-number unit vector ─ products with 256 directions ─ their signs ─→ 256 bits

Two vectors at an angle lie on different sides of a plane drawn at random with probability angle / π
(Charikar 2002, "Similarity estimation techniques from rounding algorithms"), so the bits that
differ tell how near they can be, without the vectors. The directions are always the same ones, and
all numbers are whole and exact in float32: a sketch is a function of its vector alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import shake_256
from math import acos, comb, hypot, pi, sqrt

import numpy as np

BITS = 256
WORDS = BITS // 64

CELLS_A_ROW = 3
"""Most cells that a row stands in."""

GRID = 2048
"""Steps of a whole-number unit vector: sums stay below (GRID + √d)² < 2²⁴: float32 is exact."""

DECIMALS = 6
"""Of a score; more would be noise of float16."""

LOST = 1e-7
"""The share of pairs at the threshold itself that may differ in more bits than are let pass: beyond
5 standard deviations."""

UNIFORMS = 8
"""Bytes whose sum is one coordinate of a direction: nearly normal, so no direction is preferred."""

NO_CELL = -1
NOT_KNOWN = -2
"""Instead of a row's first cell."""


@dataclass(frozen=True)
class Traits:
    """What rows are sought by: `cells` int32 `(n, CELLS_A_ROW)`, the nearest first, then −1; −2 in
    the first column: neither is known. `sketches` uint64 `(n, WORDS)`."""

    cells: np.ndarray
    sketches: np.ndarray

    @classmethod
    def unknown(cls, rows: int) -> Traits:
        """Nothing is known of any row."""
        cells = np.full((rows, CELLS_A_ROW), NOT_KNOWN, np.int32)
        return cls(cells, np.zeros((rows, WORDS), np.uint64))

    def copy(self) -> Traits:
        """For who fills in what is not known."""
        return Traits(self.cells.copy(), self.sketches.copy())

    def followed_by(self, other: Traits) -> Traits:
        """These rows, and then those."""
        return Traits(
            np.concatenate([self.cells, other.cells]),
            np.concatenate([self.sketches, other.sketches]),
        )


def directions(dimensions: int) -> np.ndarray:
    """The directions, as whole-number unit vectors: float32 `(dimensions, BITS)`."""
    shape = (BITS, dimensions, UNIFORMS)
    drawn = np.frombuffer(shake_256(b"vecmill sketch").digest(int(np.prod(shape))), np.uint8)
    around = 2 * drawn.reshape(shape).sum(axis=2, dtype=np.int64) - 255 * UNIFORMS
    length = np.sqrt((around**2).sum(axis=1, keepdims=True).astype(np.float64))
    return np.ascontiguousarray(np.rint(around * (GRID / np.maximum(length, 1))).astype("f4").T)


def sketches_of(products: np.ndarray) -> np.ndarray:
    """uint64 `(m, WORDS)`, from the products `(m, BITS)` of whole-number vectors and directions."""
    return np.packbits(products > 0, axis=1).view(np.uint64)


def most_apart(threshold: float, dimensions: int) -> int:
    """In how many bits two sketches may differ, if the cosine of their vectors may be `threshold`.

    All but `LOST` of the pairs at the threshold are as near, and more of those above it. That the
    vectors are brought to whole numbers moves each by √(d / 12) / GRID, and a score is rounded.
    """
    cosine = min(max(threshold - 10.0**-DECIMALS, -1.0), 1.0)
    share = min(hypot(acos(cosine), sqrt(dimensions / 6) / GRID) / pi, 1.0)
    most, left = -1, 1.0
    while left > LOST and most < BITS:
        most += 1
        left -= comb(BITS, most) * share**most * (1 - share) ** (BITS - most)
    return most
