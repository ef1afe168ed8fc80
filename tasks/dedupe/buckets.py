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
        maybe = _again(keys[band], some, slots)
        text, bucket, found = _group(keys[band], maybe, count)
        texts.append(text)
        buckets.append(bucket)
        count += found
    return Buckets(np.concatenate(texts), np.concatenate(buckets), count)


@njit(cache=True, nogil=True)
def _again(keys, some, slots):  # type: ignore[no-untyped-def]  # compiled
    """Whose keys fall into a slot that another's falls into, too."""
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
    found = np.empty(len(keys), np.int32)
    count = 0
    for at in range(len(keys)):
        if some[at]:
            slot = keys[at] & mask
            found[count] = at
            count += (twice[slot >> np.uint32(3)] >> (slot & np.uint32(7))) & 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _group(keys, texts, number):  # type: ignore[no-untyped-def]  # compiled
    """The buckets of at least two of the texts, numbered from `number`: text, bucket, how many."""
    size = 16
    while size < 2 * len(texts):
        size *= 2
    mask = np.uint32(size - 1)
    first = np.full(size, -1, np.int32)  # by slot: the first text with that key
    bucket = np.full(len(keys), -1, np.int32)  # of such a first text
    out_text, out_bucket = np.empty(len(texts), np.int32), np.empty(len(texts), np.int32)
    found = count = 0
    for at in range(len(texts)):
        text = texts[at]
        slot = (keys[text] * np.uint32(0x9E3779B1)) & mask
        while first[slot] >= 0 and keys[first[slot]] != keys[text]:
            slot = (slot + np.uint32(1)) & mask
        if first[slot] < 0:
            first[slot] = text
            continue
        other = first[slot]
        if bucket[other] < 0:
            bucket[other] = number + count
            count += 1
            out_text[found], out_bucket[found] = other, bucket[other]
            found += 1
        out_text[found], out_bucket[found] = text, bucket[other]
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
