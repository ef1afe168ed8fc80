"""Candidates: texts that share a band key, found without sorting those that share none.

For each band the keys go through two bitmaps, of what was met once and what was met again; most
texts share no key with any other and end there. The rest are put into a hash table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.dedupe.texts.minhash import BANDS, band_keys, mix

SLOTS_PER_KEY = 16
"""Bits in a bitmap for each key: one key in sixteen is looked up in vain."""

PLACES_PER_KEY = 1.2
"""Places in the hash table for each text, which are enough where every key is looked up."""

SLOTS_PER_NEW_KEY = 128
"""The same where the keys of a few texts are looked for among all: most keys shall miss."""

_HALF = np.uint64(32)
_LOW_HALF = np.uint64(2**32 - 1)


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
    slots = 1 << max(10, int(len(signatures) * SLOTS_PER_KEY - 1).bit_length())
    places = 1 << max(4, int(len(signatures) * PLACES_PER_KEY).bit_length())
    hits, table = np.empty(slots >> 2, np.uint8), np.empty(places, np.uint64)
    bucket_at, some = np.empty(places, np.int32), signatures.any(axis=1)
    texts, buckets, count = [np.empty(0, np.int32)], [np.empty(0, np.int32)], 0
    out = np.empty((2, len(signatures)), np.int32)
    for band in range(BANDS if len(signatures) > 1 else 0):
        _hit(keys[band], some, hits)
        found, more = _group(keys[band], some, hits, table, bucket_at, count, *out)
        texts.append(out[0, :found].copy())
        buckets.append(out[1, :found].copy())
        count += more
    return Buckets(*_distinct(np.concatenate(texts), np.concatenate(buckets), count))


def add_buckets(signatures: np.ndarray, known: Buckets, fresh: np.ndarray) -> Buckets:
    """`known`, the buckets of the other texts, and those with one of the texts that are `fresh`.

    The same texts share one as in `find_buckets` of all; `known` ones that grew stand twice.
    """
    new = np.flatnonzero(fresh)
    new = new[signatures[new].any(axis=1)]
    keys = band_keys(signatures)
    bits = max(10, int(len(new) * SLOTS_PER_NEW_KEY).bit_length())
    text, band = _met(keys, new, bits, np.zeros((BANDS, 1 << (bits - 3)), np.uint8))
    named = band.astype(np.uint64) << _HALF | keys[text, band]
    order = np.argsort(named, kind="stable")
    text, named = text[order], named[order]
    starts = np.flatnonzero(
        np.concatenate([np.ones(1, bool), named[1:] != named[:-1]])[: len(text)]
    )
    sizes = np.diff(starts, append=len(text))
    fresh_ones = np.add.reduceat(fresh[text].astype(np.int64), starts) if len(text) else starts
    wanted = (sizes > 1) & (fresh_ones > 0)
    text = text[np.repeat(wanted, sizes)]
    bucket = np.repeat(np.arange(wanted.sum(), dtype=np.int32), sizes[wanted])
    text, bucket, count = _distinct(text, bucket, int(wanted.sum()))
    return Buckets(
        np.concatenate([known.text, text]),
        np.concatenate([known.bucket, bucket + np.int32(known.count)]),
        known.count + count,
    )


@njit(cache=True, nogil=True)
def _met(keys, new, bits, seen):  # type: ignore[no-untyped-def]  # compiled
    """Text and band (int32) of each key that one of the `new` texts may have, too.

    `seen` (uint8, all zero) is room for a bitmap of 2**`bits` slots for each band.
    """
    shift, spread = np.uint32(32 - bits), np.uint32(0x9E3779B1)
    for text in new:
        for band in range(BANDS):
            slot = np.intp(np.uint32(keys[text, band] * spread) >> shift)
            seen[band, slot >> 3] |= np.uint8(1 << (slot & 7))
    texts, bands = np.empty(1024, np.int32), np.empty(1024, np.int32)
    count = 0
    for text in range(len(keys)):
        if count + BANDS > len(texts):
            texts = np.concatenate((texts, np.empty_like(texts)))
            bands = np.concatenate((bands, np.empty_like(bands)))
        for band in range(BANDS):
            slot = np.intp(np.uint32(keys[text, band] * spread) >> shift)
            texts[count], bands[count] = text, band  # stays where the count goes on
            count += (seen[band, slot >> 3] >> (slot & 7)) & 1
    return texts[:count], bands[:count]


@njit(cache=True, nogil=True, inline="always")
def _slot(key, hits):  # type: ignore[no-untyped-def]  # compiled
    """Where the two bits of a key's slot are: the byte, and how far to shift it."""
    slot = key & np.uint32(4 * len(hits) - 1)
    return slot >> np.uint32(2), np.uint8((slot & np.uint32(3)) << np.uint32(1))


@njit(cache=True, nogil=True)
def _hit(keys, some, hits):  # type: ignore[no-untyped-def]  # compiled
    """Count how often each slot is hit, two bits each: 2 is twice or more."""
    hits[:] = 0
    for text in range(len(keys)):
        if some[text]:
            place, shift = _slot(keys[text], hits)
            if not (hits[place] >> shift) & 2:
                hits[place] += np.uint8(1) << shift


@njit(cache=True, nogil=True)
def _group(keys, some, hits, table, bucket_at, number, texts, buckets):  # type: ignore[no-untyped-def]
    """Write the buckets of at least two texts, numbered from `number`, into `texts` and `buckets`.

    `table` and `bucket_at` are room for an open hash table: the key with the first text that has
    it (from 1), and the bucket, −1 while that is alone. Returns how many entries and buckets.
    """
    table[:] = 0
    bucket_at[:] = -1
    spread = np.uint32(len(table) - 1)
    found = count = 0
    for text in range(len(keys)):
        key = keys[text]
        place, shift = _slot(key, hits)
        if not some[text] or not (hits[place] >> shift) & 2:
            continue
        at = (key * np.uint32(0x9E3779B1)) & spread
        while table[at] and np.uint32(table[at] >> _HALF) != key:
            at = (at + np.uint32(1)) & spread
        if not table[at]:
            table[at] = np.uint64(key) << _HALF | np.uint64(text + 1)
            continue
        if bucket_at[at] < 0:
            bucket_at[at] = number + count
            count += 1
            texts[found] = np.int64(table[at] & _LOW_HALF) - 1
            buckets[found] = bucket_at[at]
            found += 1
        texts[found], buckets[found] = text, bucket_at[at]
        found += 1
    return found, count


@njit(cache=True, nogil=True)
def _distinct(text, bucket, buckets):  # type: ignore[no-untyped-def]  # compiled
    """Leave one of the buckets that hold the same texts (texts that resemble each other share many
    keys): text, bucket, how many.

    Same: the same sum of 64-bit hashes of their texts.
    """
    sums = np.zeros(buckets, np.uint64)
    for at in range(len(text)):
        sums[bucket[at]] += mix(np.uint64(text[at] + 1) * np.uint64(0x9E3779B97F4A7C15))
    size = 16
    while size < 2 * buckets:
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, -1, np.int32)
    renumbered = np.full(buckets, -1, np.int32)
    count = 0
    for one in range(buckets):
        slot = sums[one] & mask
        while table[slot] >= 0 and sums[table[slot]] != sums[one]:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = one
            renumbered[one] = count
            count += 1
    found = 0
    for at in range(len(text)):
        if renumbered[bucket[at]] >= 0:
            text[found], bucket[found] = text[at], renumbered[bucket[at]]
            found += 1
    return text[:found].copy(), bucket[:found].copy(), count


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
