"""Candidates: texts that share a band key, found without sorting those that share none.

For each band the keys go through two bitmaps, of what was met once and what was met again; most
texts share no key with any other and end there. The rest are put into a hash table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.dedupe.minhash import BANDS, band_keys

SLOTS_PER_KEY = 16
"""Bits in a bitmap for each key: one key in sixteen is looked up in vain."""


@dataclass(frozen=True)
class Buckets:
    """Who shares a key with whom: entry i says that `text[i]` lies in bucket `bucket[i]`.

    Both int32; every bucket holds two texts at least, and they are numbered from 0 without a gap.
    """

    text: np.ndarray
    bucket: np.ndarray
    count: int

    def texts(self) -> np.ndarray:
        """The texts that lie in any bucket, each once, ascending."""
        return np.unique(self.text)


def find_buckets(signatures: np.ndarray) -> Buckets:
    """The buckets of signatures (uint8 `(n, 128)`, all zero where there is nothing to compare)."""
    keys = np.ascontiguousarray(band_keys(signatures).T)
    some = signatures.any(axis=1)
    slots = 1 << max(10, int(len(signatures) * SLOTS_PER_KEY - 1).bit_length())
    texts, buckets, count = [np.empty(0, np.int32)], [np.empty(0, np.int32)], 0
    for band in range(BANDS if len(signatures) > 1 else 0):
        text, bucket, found = _group(keys[band], some, *_again(keys[band], some, slots), count)
        texts.append(text)
        buckets.append(bucket)
        count += found
    return Buckets(np.concatenate(texts), np.concatenate(buckets), count)


@njit(cache=True, nogil=True)
def _again(keys, some, slots):  # type: ignore[no-untyped-def]  # compiled
    """How often each slot is hit, two bits each (2: twice or more), and how many keys hit one that
    was hit before."""
    hits = np.zeros(slots >> 2, np.uint8)
    mask = np.uint32(slots - 1)
    again = 0
    for at in range(len(keys)):
        if not some[at]:
            continue
        slot = keys[at] & mask
        place, shift = slot >> np.uint32(2), np.uint8((slot & np.uint32(3)) << np.uint32(1))
        held = (hits[place] >> shift) & np.uint8(3)
        if held < 2:
            hits[place] += np.uint8(1) << shift
        again += held > 0
    return hits, mask, again


@njit(cache=True, nogil=True)
def _group(keys, some, hits, mask, again, number):  # type: ignore[no-untyped-def]  # compiled
    """The buckets of at least two texts, numbered from `number`: text, bucket, how many."""
    most = 2 * again  # keys in slots that were hit twice
    size = 16
    while size < 2 * most:
        size *= 2
    spread = np.uint32(size - 1)
    first = np.full(size, -1, np.int32)  # by place in the table: the first text with that key
    bucket = np.full(size, -1, np.int32)
    out_text, out_bucket = np.empty(most, np.int32), np.empty(most, np.int32)
    found = count = 0
    for text in range(len(keys)):
        key = keys[text]
        slot = key & mask
        shift = np.uint8((slot & np.uint32(3)) << np.uint32(1))
        if not some[text] or not (hits[slot >> np.uint32(2)] >> shift) & 2:
            continue
        at = (key * np.uint32(0x9E3779B1)) & spread
        while first[at] >= 0 and keys[first[at]] != key:
            at = (at + np.uint32(1)) & spread
        if first[at] < 0:
            first[at] = text
            continue
        if bucket[at] < 0:
            bucket[at] = number + count
            count += 1
            out_text[found], out_bucket[found] = first[at], bucket[at]
            found += 1
        out_text[found], out_bucket[found] = text, bucket[at]
        found += 1
    return out_text[:found].copy(), out_bucket[:found].copy(), count


@njit(cache=True, nogil=True)
def connected(text, bucket, buckets, texts):  # type: ignore[no-untyped-def]  # compiled
    """A number for each of `texts` texts; those that buckets lead to from each other share it."""
    above = np.arange(texts)
    last = np.full(buckets, -1, np.int64)
    for at in range(len(text)):
        one, other = text[at], last[bucket[at]]
        last[bucket[at]] = one
        if other < 0:
            continue
        while above[one] != one:
            above[one] = above[above[one]]
            one = above[one]
        while above[other] != other:
            above[other] = above[above[other]]
            other = above[other]
        above[max(one, other)] = min(one, other)
    for one in range(texts):
        above[one] = above[above[one]]
    return above


@njit(cache=True, nogil=True)
def by_text(text, bucket, texts):  # type: ignore[no-untyped-def]  # compiled
    """The buckets of text i are `held[starts[i]:starts[i + 1]]`; `text` is below `texts`."""
    starts = np.zeros(texts + 1, np.int64)
    for at in range(len(text)):
        starts[text[at] + 1] += 1
    for at in range(texts):
        starts[at + 1] += starts[at]
    held = np.empty(len(text), np.int32)
    ends = starts[:-1].copy()
    for at in range(len(text)):
        held[ends[text[at]]] = bucket[at]
        ends[text[at]] += 1
    return starts, held
