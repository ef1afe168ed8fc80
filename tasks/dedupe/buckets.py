"""Candidates: texts that share a band key, found without sorting those that share none.

For each band the keys go through two bitmaps, of what was met once and what was met again; most
texts share no key with any other and end there. The rest are sorted by key.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.dedupe.minhash import BANDS, band_keys

SLOTS_PER_KEY = 16
"""Bits in a bitmap for each key: one key in sixteen is sorted in vain."""


@dataclass(frozen=True)
class Buckets:
    """Who shares a key with whom: entry i says that `text[i]` lies in bucket `bucket[i]`.

    Both int64; every bucket holds two texts at least, and they are numbered from 0 without a gap.
    """

    text: np.ndarray
    bucket: np.ndarray
    count: int

    def texts(self) -> np.ndarray:
        """The texts that lie in any bucket, each once, ascending."""
        return np.unique(self.text)


def find_buckets(signatures: np.ndarray) -> Buckets:
    """The buckets of signatures (uint8 `(n, 128)`, all zero where there is nothing to compare)."""
    keys = band_keys(signatures)
    some = signatures.any(axis=1)
    slots = 1 << max(10, int(len(keys) * SLOTS_PER_KEY - 1).bit_length())
    texts, buckets, count = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for band in range(BANDS if len(keys) > 1 else 0):
        column = np.ascontiguousarray(keys[:, band])
        maybe = np.flatnonzero(_again(column, some, slots))
        maybe = maybe[np.argsort(column[maybe], kind="stable")]
        held = column[maybe]
        starts = np.ones(len(held), bool)
        starts[1:] = held[1:] != held[:-1]
        number = np.cumsum(starts) - 1
        shared = np.bincount(number, minlength=1) > 1
        keep = shared[number]
        renumbered = np.cumsum(shared) - 1
        texts.append(maybe[keep])
        buckets.append(renumbered[number[keep]] + count)
        count += int(shared.sum())
    return Buckets(np.concatenate(texts), np.concatenate(buckets), count)


@njit(cache=True, nogil=True)
def _again(keys, some, slots):  # type: ignore[no-untyped-def]  # compiled
    """Which keys fall into a slot that another falls into, too."""
    once = np.zeros(slots >> 3, np.uint8)
    twice = np.zeros(slots >> 3, np.uint8)
    mask = np.uint32(slots - 1)
    for at in range(len(keys)):
        if some[at]:
            slot = keys[at] & mask
            place, bit = slot >> np.uint32(3), np.uint8(1 << (slot & np.uint32(7)))
            if once[place] & bit:
                twice[place] |= bit
            else:
                once[place] |= bit
    found = np.zeros(len(keys), np.bool_)
    for at in range(len(keys)):
        if some[at]:
            slot = keys[at] & mask
            found[at] = (twice[slot >> np.uint32(3)] >> (slot & np.uint32(7))) & 1
    return found


@njit(cache=True, nogil=True)
def by_text(text, bucket, texts):  # type: ignore[no-untyped-def]  # compiled
    """The buckets of text i are `held[starts[i]:starts[i + 1]]`; `text` is below `texts`."""
    starts = np.zeros(texts + 1, np.int64)
    for at in range(len(text)):
        starts[text[at] + 1] += 1
    for at in range(texts):
        starts[at + 1] += starts[at]
    held = np.empty(len(text), np.int64)
    ends = starts[:-1].copy()
    for at in range(len(text)):
        held[ends[text[at]]] = bucket[at]
        ends[text[at]] += 1
    return starts, held
