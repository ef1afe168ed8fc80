"""Whether two pictures are the same one: near by hash, alike as small grey pictures, of one colour.

    hashes ≤ 14 bits apart, or one's and the other's mirror image
      ─ hashes of both as they are, or one of them cropped, ≤ 8 bits apart
          ─ correlation of 16 × 16 grey levels of those ≥ 0.96
              ─ 8 × 8 colours, where both have some: pointing the same way, none far from the other

The first finds candidates and lets strangers through: 2 pairs in 10,000 of photographs, 1 in 10 of
scanned pages, whose layout is the same. A crop shifts and stretches what is left, which 14 bits
bear; lined up with the right crop, a copy is within 8, few strangers are, and grey levels decide.

Grey levels cannot tell a red lamp from a blue one. Colours are (Cb, Cr), from grey: brightness
makes them longer or shorter together, so their directions are compared, and single cells at one
common length. A copy in grey has none, and agrees with any.

Sums are whole numbers, and what is computed of them is rounded alike everywhere, so all machines
agree. The walk over hashes takes a seventh of the CPU time of faiss's flat binary index.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.dedupe.ones import ones
from tasks.dedupe.pictures.crops import COARSE, FIRST, SHARE, SHARES, SIDE, SPANS, WINDOWS
from tasks.dedupe.pictures.phash import COLOUR_BYTES, COLOURS, GREY_BYTES, MIRROR

SAME_VERSION = 2
"""Raised when the same signatures would be judged in another way."""

BITS_APART = 14
"""Of 64. Of the copies of Caltech-101 pictures cropped by 5 %, 95 % are as near, 56 % within the 8
bits that are usual; of their pairs of different pictures 2 in 10,000."""

BITS_ALIGNED = 8
"""Of 64, once lined up: all but one in a thousand of the copies that are candidates are as near,
and of candidates among scanned pages 1 in 11."""

CORRELATION = 0.96
"""Of copies 98 % reach it, of pairs of different pictures 4 in a million: drawings that differ in a
detail."""

COLOURFUL = 4
"""Levels of 255 from grey, the root of the mean square over all cells: one cell in 64 at 32 levels.
Less is the tint of a scan, or what compression leaves of grey."""

COLOURS_ALIKE = 0.88
"""Cosine of the colours. Of the copies of Caltech-101 pictures that are alike in grey, 1 in 800
falls below it (or beyond `COLOUR_APART`), crops and lightened ones; of strangers that are, and both
have colour, nearly all but stop signs."""

COLOUR_APART = 64
"""Levels between the colours of one cell. Crops shift what a cell shows by up to 45; a red shape
that is blue in the other picture is 100 apart."""

WASHED_OUT = 245
"""Brightness, of 255, above which a cell has no colour to compare: lightened, it loses it."""

PLAIN, MIRRORED = 1, 2
"""Which of the two a pair may be."""

_MIRROR = np.uint64(MIRROR)
_NOTHING = np.uint64(0)

_GREY = 128
"""Of Cb and Cr where there is no colour."""

_FINE = SIDE // COLOURS
"""Grey levels in each direction under a cell of colour."""


@njit(cache=True, nogil=True)
def orientations(one, other, bits):  # type: ignore[no-untyped-def]  # compiled
    """Within how many `bits` two hashes are: `PLAIN`, `MIRRORED`, both (3) or neither (0)."""
    apart = one ^ other
    near = PLAIN if ones(apart) <= bits else 0
    return near | (MIRRORED if ones(apart ^ _MIRROR) <= bits else 0)


@njit(cache=True, nogil=True)
def any_near(one, others, count, bits):  # type: ignore[no-untyped-def]  # compiled
    """Whether one of the first `count` of `others` is near, in either orientation."""
    near = False
    for at in range(count):
        apart = one ^ others[at]
        near |= (ones(apart) <= bits) | (ones(apart ^ _MIRROR) <= bits)
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
        mine = ones(hashes_one[number] ^ turned ^ hashes_other[0]) <= BITS_ALIGNED
        its = ones(hashes_one[0] ^ turned ^ hashes_other[number]) <= BITS_ALIGNED
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
def _washed_out(picture, row, column):  # type: ignore[no-untyped-def]  # compiled
    """Whether a cell of colour is too bright to have any."""
    total = 0
    for y in range(_FINE):
        begin = (row * _FINE + y) * SIDE + column * _FINE
        for x in range(_FINE):
            total += np.int64(picture[begin + x])
    return total > WASHED_OUT * _FINE * _FINE


@njit(cache=True, nogil=True)
def same_colours(one, other, flip):  # type: ignore[no-untyped-def]  # compiled
    """Whether pictures (levels), the other mirrored if `flip`, agree in colour, or one has none."""
    square_one = square_other = product = 0
    cells = np.zeros((COLOUR_BYTES, 3), np.int64)  # squares of both, and their product
    for row in range(COLOURS):
        for column in range(COLOURS):
            turned = COLOURS - 1 - column if flip else column
            if _washed_out(one, row, column) or _washed_out(other, row, turned):
                continue
            cell = cells[row * COLOURS + column]
            for band in range(2):
                begin = GREY_BYTES + band * COLOUR_BYTES + row * COLOURS
                mine = np.int64(one[begin + column]) - _GREY
                its = np.int64(other[begin + turned]) - _GREY
                cell[0] += mine * mine
                cell[1] += its * its
                cell[2] += mine * its
            square_one += cell[0]
            square_other += cell[1]
            product += cell[2]
    if min(square_one, square_other) < COLOURFUL * COLOURFUL * COLOUR_BYTES:
        return True
    length_one, length_other = np.sqrt(float(square_one)), np.sqrt(float(square_other))
    if product < COLOURS_ALIKE * (length_one * length_other):
        return False
    for at in range(COLOUR_BYTES):  # both at the length between theirs
        mine = cells[at, 0] * length_other / length_one
        its = cells[at, 1] * length_one / length_other
        apart = mine + its - 2 * cells[at, 2]
        if apart > COLOUR_APART * COLOUR_APART:
            return False
    return True


@njit(cache=True, nogil=True)
def similarity(one, other, hashes_one, hashes_other, near, windows):  # type: ignore[no-untyped-def]
    """How alike pictures (levels, uint8 `[1152]`) are in the orientations `near`, to 4 decimals:
    the correlation of their grey levels, 0 where they differ in colour.

    `hashes_one` and `hashes_other` are uint64 `[25]`.
    """
    best = 0.0
    for way, flip in ((PLAIN, False), (MIRRORED, True)):
        if near & way:
            value = _best(one, other, hashes_one, hashes_other, flip, windows)
            if value > best and same_colours(one, other, flip):
                best = value
    return np.float32(np.round(best * 10_000.0) / 10_000.0)


@njit(cache=True, nogil=True)
def scratch():  # type: ignore[no-untyped-def]  # compiled
    """Room for three windows."""
    return np.empty((3, COARSE * COARSE), np.int64)
