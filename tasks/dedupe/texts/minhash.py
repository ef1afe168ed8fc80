"""MinHash signatures of texts: shingles of five characters, 128 permutations, a byte for each.

    compared text ─ every 5 characters ─ 64-bit hash ─ the least under 128 permutations
                  ─ 8 bits of each least ─> 128 bytes = 32 band keys of 4

Two texts whose shingles have a Jaccard similarity of J agree in a byte with probability
J + (1 − J)/256, so in at least one of the 32 keys with about 1 − (1 − J⁴)³²: .9998 at .7, .87 at
.5, .05 at .2. Keeping 8 bits of each least value costs almost nothing of that (b-bit minwise
hashing, Li and König 2010), and the same bytes say cheaply how alike two texts may be.
MinHash and banding: Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.
"""

from __future__ import annotations

from math import floor, sqrt

import numpy as np
import pyarrow as pa
from numba import njit

from tasks.dedupe.texts.text_arrays import Texts, compared, text_buffers

SIGNATURE_VERSION = 1
"""Raised when the same text would get another signature."""

SHINGLE = 5
"""Characters of a shingle: words of three lose recall, .77 against .96 (FACTS)."""

PERMUTATIONS = 128
BANDS = 32

DOUBT = 5.0
"""Standard deviations by which the bytes of two texts at the threshold may agree too seldom before
they are taken for too different to be compared: one pair in three million is lost."""

_draw = np.random.default_rng(20_261_120)
_FACTORS = (_draw.integers(0, 2**32, PERMUTATIONS, np.uint32) | np.uint32(1)).astype(np.uint32)
_TERMS = _draw.integers(0, 2**32, PERMUTATIONS, np.uint32)

_BITS = np.uint64(21)
_LOW = np.uint64(2**21 - 1)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xD6E8FEB86659FD93)
_MIX_B = np.uint64(0xA0761D6478BD642F)
_S42, _S32, _S29 = np.uint64(42), np.uint64(32), np.uint64(29)
_SPREAD = np.uint32(0x9E3779B1)
_ZERO = np.uint64(0)


def sign_texts(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The signature of each text: uint8 `(n, 128)`; all zero for one without any character."""
    return sign_compared(compared(texts))


def sign_compared(texts: Texts) -> np.ndarray:
    """`sign_texts` of texts in their compared form."""
    out = np.zeros((len(texts), PERMUTATIONS), np.uint8)
    _sign(texts.data, texts.offsets, _FACTORS, _TERMS, out)
    return out


def band_keys(signatures: np.ndarray) -> np.ndarray:
    """The 32 band keys of each signature: uint32 `(n, 32)`, the same bytes."""
    return np.ascontiguousarray(signatures).view(np.uint32)


def fewest_equal(threshold: float) -> int:
    """How many of the 128 bytes agree at least in texts whose similarity is `threshold`."""
    spread = sqrt(PERMUTATIONS * threshold * (1 - threshold))
    return max(0, floor(PERMUTATIONS * threshold - DOUBT * spread))


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """128 bits that name each text as it stands: uint64 `(n, 2)`.

    Not cryptographic, but ten times as fast as what is: it finds signatures again, in a folder that
    may be deleted at any time, and is never published.
    """
    raw = text_buffers(texts)
    out = np.empty((len(raw), 2), np.uint64)
    _hash(raw.data, raw.offsets, out)
    return out


@njit(cache=True, nogil=True, inline="always")
def mix(x):  # type: ignore[no-untyped-def]  # compiled
    """A bijection of 64 bits in which each bit depends on each."""
    x ^= x >> _S32
    x *= _MIX_A
    x ^= x >> _S29
    x *= _MIX_B
    return x ^ (x >> _S32)


@njit(cache=True, nogil=True)
def shingles_of(data, start, end, out):  # type: ignore[no-untyped-def]  # compiled
    """Write the hash of every shingle of a text, repeats too, into `out` (uint64); how many.

    A text shorter than a shingle is one. The two words of a window hold its five code points, 21
    bits each, so that different shingles of one alphabet seldom meet before they are mixed.
    """
    low = high = _ZERO
    count = found = 0
    i = start
    while i < end:
        sign = data[i]
        if sign < 0x80:
            code = np.uint64(sign)
            i += 1
        elif sign < 0xE0:
            code = np.uint64((sign & 0x1F) << 6 | (data[i + 1] & 0x3F))
            i += 2
        elif sign < 0xF0:
            code = np.uint64((sign & 0xF) << 12 | (data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F))
            i += 3
        else:
            code = np.uint64(
                (sign & 0x7) << 18
                | (data[i + 1] & 0x3F) << 12
                | (data[i + 2] & 0x3F) << 6
                | (data[i + 3] & 0x3F)
            )
            i += 4
        low = (low >> _BITS) | ((high & _LOW) << _S42)
        high = (high >> _BITS) | (code << _BITS)
        count += 1
        if count >= SHINGLE:
            out[found] = mix(low ^ (high * _ODD))
            found += 1
    if 0 < count < SHINGLE:
        out[0] = mix(low ^ (high * _ODD))
        found = 1
    return found


@njit(cache=True, nogil=True)
def longest(offsets):  # type: ignore[no-untyped-def]  # compiled
    """Bytes of the longest text."""
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    return most


@njit(cache=True, nogil=True)
def _sign(data, offsets, factors, terms, out):  # type: ignore[no-untyped-def]  # compiled
    hashes = np.empty(longest(offsets) + 1, np.uint64)
    least = np.empty(PERMUTATIONS, np.uint32)
    for text in range(len(offsets) - 1):
        found = shingles_of(data, offsets[text], offsets[text + 1], hashes)
        if not found:
            continue
        least[:] = np.uint32(0xFFFFFFFF)
        for at in range(found):
            value = np.uint32(hashes[at] >> _S32)
            for k in range(PERMUTATIONS):
                least[k] = min(least[k], np.uint32(value * factors[k] + terms[k]))
        for k in range(PERMUTATIONS):
            out[text, k] = np.uint8(np.uint32(least[k] * _SPREAD) >> np.uint32(24))


@njit(cache=True, nogil=True, inline="always")
def _word(data, at, size):  # type: ignore[no-untyped-def]  # compiled
    """Up to eight bytes as a number, the first one lowest."""
    found = _ZERO
    for k in range(size):
        found |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return found


@njit(cache=True, nogil=True)
def _hash(data, offsets, out):  # type: ignore[no-untyped-def]  # compiled
    """Two chains over words of eight bytes, each multiplied by its own odd number and mixed."""
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        first = mix(np.uint64(end - at) + _ODD)
        second = mix(first ^ _MIX_A)
        while at + 8 <= end:
            word = (
                np.uint64(data[at])
                | np.uint64(data[at + 1]) << np.uint64(8)
                | np.uint64(data[at + 2]) << np.uint64(16)
                | np.uint64(data[at + 3]) << np.uint64(24)
                | np.uint64(data[at + 4]) << np.uint64(32)
                | np.uint64(data[at + 5]) << np.uint64(40)
                | np.uint64(data[at + 6]) << np.uint64(48)
                | np.uint64(data[at + 7]) << np.uint64(56)
            )
            first = (first ^ word) * _MIX_B
            first ^= first >> _S29
            second = (second + word) * _MIX_A
            second ^= second >> _S32
            at += 8
        word = _word(data, at, end - at)
        out[text, 0] = mix((first ^ word) * _MIX_B)
        out[text, 1] = mix((second + word) * _MIX_A ^ out[text, 0])
