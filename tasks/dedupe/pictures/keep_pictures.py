"""Who is kept among pictures: each is compared with kept ones alone, and with new ones where it was
judged before.

    in order: picture ─ kept ones near by hash ─ alike? ─> marked by the first such, or kept

The same as `keep_first` over all alike pairs, without finding them all: of ten thousand frames
of one scene each is compared with the first and no more. What was judged before is a verdict, not
a list of pairs: a picture that was kept resembles none of those kept before it, and one that
was marked none before the one that it points to. So it is compared with those that are kept now and
were not then. A picture whose place in the order has moved counts as new.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.dedupe.pictures.same_picture import (
    BITS_APART,
    any_near,
    orientations,
    scratch,
    similarity,
)

KEPT = -1
NEW = -2
"""What is known of a picture, in place of the one that it points to."""

_BLOCK = 512
"""Kept hashes that are compared before the first of them is looked at: 4 KB, without a branch."""


def keep_pictures(
    hashes: np.ndarray,
    levels: np.ndarray,
    known: np.ndarray,
    scores: np.ndarray,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Which kept picture each one is marked by (int64 `[n]`, `KEPT` for those that are kept), and
    how alike they are (float32 `[n]`, 0 for kept ones).

    In the order in which pictures are kept: `hashes` uint64 `[n, 25]`, `levels` uint8 `[n, 1152]`
    (or whole signatures); `known` int64 `[n]`: what each pointed to in an earlier verdict about
    some of them in the same order, `KEPT`, or `NEW`; `scores` float32 `[n]` of those.
    """
    return _walk(hashes, levels, known, scores, np.float32(threshold))


def steady(ranks: np.ndarray) -> np.ndarray:
    """Which of the pictures stand to each other as they did: bool `[n]`.

    `ranks` int64 `[n]` are their places in the earlier order, −1 for new ones. A longest ascending
    run of them has not moved; the others have.
    """
    return _ascending(np.ascontiguousarray(ranks, np.int64))


@njit(cache=True, nogil=True)
def _walk(hashes, levels, known, scores, threshold):  # type: ignore[no-untyped-def]  # compiled
    count = len(hashes)
    through = np.full(count, KEPT, np.int64)
    score = np.zeros(count, np.float32)
    kept, kept_hashes = np.empty(count, np.int64), np.empty(count, np.uint64)
    fresh, fresh_hashes = np.empty(count, np.int64), np.empty(count, np.uint64)
    in_kept = in_fresh = 0
    windows = scratch()
    for one in range(count):
        told = known[one]
        if told >= 0 and through[told] != KEPT:
            told = NEW  # the one that it pointed to is marked now
        if told == NEW:
            found, value = _first(
                one, hashes, levels, kept, kept_hashes, in_kept, threshold, windows
            )
        else:
            found, value = _first(
                one, hashes, levels, fresh, fresh_hashes, in_fresh, threshold, windows
            )
            if told >= 0 and (found < 0 or told < found):
                found, value = told, scores[one]
        if found >= 0:
            through[one], score[one] = found, value
            continue
        kept[in_kept], kept_hashes[in_kept] = one, hashes[one, 0]
        in_kept += 1
        if told == NEW:
            fresh[in_fresh], fresh_hashes[in_fresh] = one, hashes[one, 0]
            in_fresh += 1
    return through, score


@njit(cache=True, nogil=True)
def _first(one, hashes, levels, held, held_hashes, count, threshold, windows):  # type: ignore[no-untyped-def]
    """The first of the `count` held pictures that `one` resembles, and how much; −1 for none."""
    for begin in range(0, count, _BLOCK):
        end = min(count, begin + _BLOCK)
        if not any_near(hashes[one, 0], held_hashes[begin:end], end - begin, BITS_APART):
            continue
        for at in range(begin, end):
            near = orientations(hashes[one, 0], held_hashes[at], BITS_APART)
            if near:
                other = held[at]
                value = similarity(
                    levels[one], levels[other], hashes[one], hashes[other], near, windows
                )
                if value >= threshold:
                    return other, value
    return -1, np.float32(0)


@njit(cache=True, nogil=True)
def _ascending(ranks):  # type: ignore[no-untyped-def]  # compiled
    """Members of one longest ascending run of the ranks that are not negative."""
    count = len(ranks)
    tails = np.empty(count, np.int64)  # of runs of each length: where the least last rank stands
    before = np.full(count, -1, np.int64)
    length = 0
    for at in range(count):
        if ranks[at] < 0:
            continue
        low, high = 0, length
        while low < high:
            middle = (low + high) // 2
            if ranks[tails[middle]] < ranks[at]:
                low = middle + 1
            else:
                high = middle
        if low:
            before[at] = tails[low - 1]
        tails[low] = at
        length = max(length, low + 1)
    member = np.zeros(count, np.bool_)
    at = tails[length - 1] if length else -1
    while at >= 0:
        member[at] = True
        at = before[at]
    return member
