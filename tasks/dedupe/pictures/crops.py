"""A small grey picture and what crops leave of it: windows, laid over coarser cells.

Each window keeps the whole of a side or 95 % of it, cut off at four places: 5 × 5 of them, the
first being the picture itself. Its 16 × 16 cells are sums over parts of the 32 × 32 that they
cover; the parts are whole numbers, so a sum is the same on every machine.
"""

from __future__ import annotations

import numpy as np

SIDE = 32
"""Of the grey picture."""

COARSE = SIDE // 2
"""Cells of a window in each direction: a crop is placed within 2 % of where it was, and what it
shifts by that much stays in its cell."""

CROP = 0.05
"""The largest share of width or height that a crop may take off."""

PLACES = 4
"""Where a crop may lie in either direction: from one edge to the other in steps of 1.7 %."""

SPANS = 1 + PLACES
WINDOWS = SPANS * SPANS

SHARES = 4
"""Fine cells that a coarse one touches in one direction, at most."""

_UNIT = 30
"""Parts of a fine cell in which the borders of all coarse ones are whole numbers."""


def _spans() -> tuple[np.ndarray, np.ndarray]:
    """For the whole side and each crop: the first fine cell under each coarse one, and how much of
    it and of the next three the coarse one covers: int64 `[5, 16]`, `[5, 16, 4]`."""
    width = SIDE * _UNIT
    cut = round(width * CROP)
    spans = [(0, width)] + [(cut * i // (PLACES - 1), width - cut) for i in range(PLACES)]
    first = np.zeros((SPANS, COARSE), np.int64)
    share = np.zeros((SPANS, COARSE, SHARES), np.int64)
    for span, (begin, length) in enumerate(spans):
        for cell in range(COARSE):
            low = begin + length * cell // COARSE
            high = begin + length * (cell + 1) // COARSE
            first[span, cell] = low // _UNIT
            for i in range(SHARES):
                fine = (low // _UNIT + i) * _UNIT
                share[span, cell, i] = max(0, min(high, fine + _UNIT) - max(low, fine))
    return first, share


FIRST, SHARE = _spans()


def cells() -> np.ndarray:
    """How much of each fine cell each coarse one covers, by span: float64 `[5, 16, 32]`."""
    out = np.zeros((SPANS, COARSE, SIDE))
    for span in range(SPANS):
        for cell in range(COARSE):
            for i in np.flatnonzero(SHARE[span, cell]):
                out[span, cell, FIRST[span, cell] + i] = SHARE[span, cell, i]
    return out
