"""Whether two pictures are the same one: near by hash, and alike as small grey pictures.

    hashes ≤ 14 bits apart, or one's and the other's mirror image
      ─ hashes of both as they are, or one of them cropped, ≤ 8 bits apart
          ─ correlation of 16 × 16 grey levels of those ≥ 0.96

The first finds candidates and lets strangers through: 2 pairs in 10,000 of photographs, 1 in 10 of
scanned pages, whose layout is the same. A crop shifts and stretches what is left, which 14 bits
bear; lined up with the right crop, a copy is within 8, few strangers are, and grey levels decide.

Everything is computed in whole numbers but for one division, so all machines agree. The walk over
hashes takes a seventh of the CPU time of faiss's flat binary index.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from tasks.dedupe.pictures.crops import COARSE, FIRST, SHARE, SHARES, SIDE, SPANS, WINDOWS
from tasks.dedupe.pictures.phash import MIRROR

SAME_VERSION = 1
"""Raised when the same signatures would be judged in another way."""

BITS_APART = 14
"""Of 64. Of the copies of Caltech-101 pictures cropped by 5 %, 95 % are as near, 56 % within the 8
bits that are usual; of their pairs of different pictures 2 in 10,000."""

BITS_ALIGNED = 8
"""Of 64, once lined up: all but one in a thousand of the copies that are candidates are as near,
and of candidates among scanned pages 1 in 11."""

CORRELATION = 0.96
"""Of copies 98 % reach it, of pairs of different pictures 6 in a million: drawings that differ in a
detail, or in colour alone."""

PLAIN, MIRRORED = 1, 2
"""Which of the two a pair may be."""

_MIRROR = np.uint64(MIRROR)
_NOTHING = np.uint64(0)


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
            for i in range(SHARES):
                down = SHARE[rows, y, i]
                if down:
                    line = 0
                    begin = (FIRST[rows, y] + i) * SIDE + FIRST[columns, x]
                    for j in range(SHARES):
                        across = SHARE[columns, x, j]
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
def _best(one, other, hashes_one, hashes_other, flip, windows):  # type: ignore[no-untyped-def]
    """The highest correlation of two pictures, the other mirrored if `flip`, either cropped; of the
    crops that line them up. `windows` is scratch."""
    whole_one, whole_other, window = windows[0], windows[1], windows[2]
    turned = _MIRROR if flip else _NOTHING
    best, begun = 0.0, False
    for number in range(WINDOWS):
        mine = _ones(hashes_one[number] ^ turned ^ hashes_other[0]) <= BITS_ALIGNED
        its = _ones(hashes_one[0] ^ turned ^ hashes_other[number]) <= BITS_ALIGNED
        if not (mine or its):
            continue
        if not begun:
            _coarse(one, 0, 0, False, whole_one)
            _coarse(other, 0, 0, flip, whole_other)
            begun = True
        rows, columns = number // SPANS, number % SPANS
        if mine:
            _coarse(one, rows, columns, False, window)
            best = max(best, _correlation(window, whole_other))
        if its:
            _coarse(other, rows, columns, flip, window)
            best = max(best, _correlation(whole_one, window))
    return best


@njit(cache=True, nogil=True)
def similarity(one, other, hashes_one, hashes_other, near, windows):  # type: ignore[no-untyped-def]
    """How alike grey pictures (uint8 `[1024]`) are in the orientations `near`, to 4 decimals.

    `hashes_one` and `hashes_other` are uint64 `[25]`.
    """
    best = 0.0
    if near & PLAIN:
        best = max(best, _best(one, other, hashes_one, hashes_other, False, windows))
    if near & MIRRORED:
        best = max(best, _best(one, other, hashes_one, hashes_other, True, windows))
    return np.float32(np.round(best * 10_000.0) / 10_000.0)


@njit(cache=True, nogil=True)
def scratch():  # type: ignore[no-untyped-def]  # compiled
    """Room for three windows."""
    return np.empty((3, COARSE * COARSE), np.int64)
