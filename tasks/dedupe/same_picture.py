"""Whether two pictures are the same one: near by hash, and alike as small grey pictures.

    hashes ≤ 14 bits apart (or one's mirror image) ─ correlation of 16 × 16 grey levels ≥ 0.96
                                                       of both as they are, or one of them cropped

The hash finds candidates and lets some strangers through (2 pairs in 10,000 of photographs); the
grey levels confirm. A crop shifts and stretches what is left, which 14 bits of the hash bear and
a plain correlation does not: so each picture is also compared with the other less 5 % of its width,
height or both, cut off at four places.

Everything is computed in whole numbers but for one division, so all machines agree.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from tasks.dedupe.phash import MIRROR, SIDE

SAME_VERSION = 1
"""Raised when the same signatures would be judged in another way."""

BITS_APART = 14
"""Of 64. Of the copies of Caltech-101 pictures cropped by 5 %, 94 % are as near, 56 % within the 8
bits that are usual; of their pairs of different pictures 2 in 10,000."""

CORRELATION = 0.96
"""Of copies 98 % reach it, of pairs of different pictures 2 in 100,000: nearly all of those are
drawings that differ in a detail."""

LIKELY = 0.5
"""Correlation of uncropped pictures below which no crop of 5 % is tried: of such copies 99.9 % are
above."""

CROP = 0.05
"""The largest share of width or height that a crop may take off."""

COARSE = SIDE // 2
_PLACES = 4
"""Where a crop may lie in either direction: from one edge to the other in steps of 1.7 %."""

_UNIT = 30
"""Parts of a grey cell in which the borders of cropped cells are whole numbers."""

_SHARES = 4
"""Cells that a cropped coarse cell touches, at most."""

PLAIN, MIRRORED = 1, 2
"""Which of the two a pair may be."""


def _windows() -> tuple[np.ndarray, np.ndarray]:
    """For the whole side and each crop: the first fine cell under each coarse one, and how much of
    it and of the next three the coarse one covers: int64 `[5, 16]`, `[5, 16, 4]`."""
    width = SIDE * _UNIT
    cut = round(width * CROP)
    spans = [(0, width)]
    spans += [(cut * i // (_PLACES - 1), width - cut) for i in range(_PLACES)]
    first = np.zeros((len(spans), COARSE), np.int64)
    share = np.zeros((len(spans), COARSE, _SHARES), np.int64)
    for span, (begin, length) in enumerate(spans):
        for cell in range(COARSE):
            low = begin + length * cell // COARSE
            high = begin + length * (cell + 1) // COARSE
            first[span, cell] = low // _UNIT
            for i in range(_SHARES):
                fine = (low // _UNIT + i) * _UNIT
                share[span, cell, i] = max(0, min(high, fine + _UNIT) - max(low, fine))
    return first, share


_FIRST, _SHARE = _windows()
_SPANS = len(_FIRST)
_MIRROR = np.uint64(MIRROR)


@intrinsic
def _ones(context, number):  # type: ignore[no-untyped-def]
    """How many bits of a uint64 are set."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build


@njit(cache=True, nogil=True)
def orientations(one, other, bits):  # type: ignore[no-untyped-def]  # compiled
    """Within how many `bits` two hashes are: `PLAIN`, `MIRRORED`, both (3) or neither (0)."""
    apart = one ^ other
    near = PLAIN if _ones(apart) <= bits else 0
    return near | (MIRRORED if _ones(apart ^ _MIRROR) <= bits else 0)


@njit(cache=True, nogil=True)
def any_near(one, others, count, bits):  # type: ignore[no-untyped-def]  # compiled
    """Whether one of the first `count` of `others` is near, in either orientation."""
    near = False
    for at in range(count):
        apart = one ^ others[at]
        near |= (_ones(apart) <= bits) | (_ones(apart ^ _MIRROR) <= bits)
    return near


@njit(cache=True, nogil=True)
def _coarse(picture, rows, columns, flip, out):  # type: ignore[no-untyped-def]  # compiled
    """The window (`rows`, `columns`: numbers of spans) of a picture, mirrored if `flip`."""
    for y in range(COARSE):
        for x in range(COARSE):
            total = 0
            for i in range(_SHARES):
                down = _SHARE[rows, y, i]
                if down:
                    line = 0
                    begin = (_FIRST[rows, y] + i) * SIDE + _FIRST[columns, x]
                    for j in range(_SHARES):
                        across = _SHARE[columns, x, j]
                        if across:
                            line += across * np.int64(picture[begin + j])
                    total += down * line
            out[y * COARSE + (COARSE - 1 - x if flip else x)] = total


@njit(cache=True, nogil=True)
def _correlation(one, other):  # type: ignore[no-untyped-def]  # compiled
    """Of two windows, 0 where one has no contrast."""
    count = len(one)
    sum_one = sum_other = square_one = square_other = product = 0
    for at in range(count):
        sum_one += one[at]
        sum_other += other[at]
        square_one += one[at] * one[at]
        square_other += other[at] * other[at]
        product += one[at] * other[at]
    spread_one = float(count * square_one - sum_one * sum_one)
    spread_other = float(count * square_other - sum_other * sum_other)
    if spread_one <= 0.0 or spread_other <= 0.0:
        return 0.0
    shared = float(count * product - sum_one * sum_other)
    return shared / np.sqrt(spread_one) / np.sqrt(spread_other)


@njit(cache=True, nogil=True)
def _best(one, other, flip, windows):  # type: ignore[no-untyped-def]  # compiled
    """The highest correlation of two pictures, either of them cropped; `windows` is scratch."""
    whole_one, whole_other, window = windows[0], windows[1], windows[2]
    _coarse(one, 0, 0, False, whole_one)
    _coarse(other, 0, 0, flip, whole_other)
    best = _correlation(whole_one, whole_other)
    if best < LIKELY:
        return best
    for rows in range(_SPANS):
        for columns in range(_SPANS):
            _coarse(one, rows, columns, False, window)
            best = max(best, _correlation(window, whole_other))
            _coarse(other, rows, columns, flip, window)
            best = max(best, _correlation(whole_one, window))
    return best


@njit(cache=True, nogil=True)
def similarity(one, other, near, windows):  # type: ignore[no-untyped-def]  # compiled
    """How alike grey pictures (uint8 `[1024]`) are in the orientations `near`, to 4 decimals."""
    best = 0.0
    if near & PLAIN:
        best = max(best, _best(one, other, False, windows))
    if near & MIRRORED:
        best = max(best, _best(one, other, True, windows))
    return np.float32(np.round(best * 10_000.0) / 10_000.0)


@njit(cache=True, nogil=True)
def scratch():  # type: ignore[no-untyped-def]  # compiled
    """Room for three windows."""
    return np.empty((3, COARSE * COARSE), np.int64)
