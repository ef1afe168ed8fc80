"""Texts as bytes and offsets, and the form in which two of them are compared.

    text ─ NFKC ─ upper, then lower case ─ runs of whitespace as one space ─> compared text

Upper and then lower case does what case folding does (ß as ss, both sigmas alike). Plain ASCII
skips all but the last step, which also lowers it: that is most text, and ten times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

COMPARED_VERSION = 1
"""Raised when the same text would be compared in another form."""


@dataclass(frozen=True)
class Texts:
    """Texts one after the other: `data` (uint8, UTF-8), text i from `offsets[i]` (int64) on."""

    data: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> Texts:
    """The buffers of strings, or of their bytes, as they are; `ValueError` where one is null."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; expected none")
    if pa.types.is_string(texts.type):
        width = np.int32
    elif pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type):
        width = np.int64
    else:
        return text_buffers(texts.cast(pa.large_string()))
    _, offsets, data = texts.buffers()
    if offsets is None or not len(texts):
        return Texts(np.empty(0, np.uint8), np.zeros(1, np.int64))
    places = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    held = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return Texts(held, places.astype(np.int64))


def compared(texts: pa.Array | pa.ChunkedArray) -> Texts:
    """The texts in the form in which they are compared: `n` of them, in the same order."""
    raw = text_buffers(texts)
    foreign = _foreign(raw.data, raw.offsets)
    if foreign.any():
        whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        whole, mask = whole.cast(pa.large_string()), pa.array(foreign)
        folded = (
            pl.Series(whole.filter(mask))
            .str.normalize("NFKC")
            .str.to_uppercase()
            .str.to_lowercase()
        )
        raw = text_buffers(
            pc.replace_with_mask(whole, mask, folded.to_arrow().cast(pa.large_string()))
        )
    offsets = np.zeros(len(raw) + 1, np.int64)
    out = np.empty(int(raw.offsets[-1] - raw.offsets[0]), np.uint8)
    end = _squeeze(raw.data, raw.offsets, out, offsets)
    return Texts(out[:end], offsets)


@njit(cache=True, nogil=True)
def _foreign(data, offsets):  # type: ignore[no-untyped-def]  # compiled
    """Which texts hold a byte beyond ASCII."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for text in range(len(found)):
        signs = np.uint8(0)
        for at in range(offsets[text], offsets[text + 1]):
            signs |= data[at]
        found[text] = signs >= 0x80
    return found


@njit(cache=True, nogil=True)
def _squeeze(data, offsets, out, ends):  # type: ignore[no-untyped-def]  # compiled
    """Lower ASCII and leave one space for each run of whitespace, none at either end."""
    at = 0
    for text in range(len(offsets) - 1):
        begin = at
        gap = False
        i, end = offsets[text], offsets[text + 1]
        while i < end:
            sign = data[i]
            width = 1
            if sign < 0x80:
                white = sign == 32 or 9 <= sign <= 13 or 28 <= sign <= 31
            else:
                width = 2 if sign < 0xE0 else (3 if sign < 0xF0 else 4)
                white = _wide_space(data, i, width)
            if white:
                gap = True
                i += width
                continue
            if gap:
                gap = False
                if at > begin:
                    out[at] = 32
                    at += 1
            if 65 <= sign <= 90:
                sign += 32
            out[at] = sign
            for more in range(1, width):
                out[at + more] = data[i + more]
            at += width
            i += width
        ends[text + 1] = at
    return at


@njit(cache=True, nogil=True)
def _wide_space(data, i, width):  # type: ignore[no-untyped-def]  # compiled
    """Whether a sign beyond ASCII is one of the spaces that NFKC leaves as they are."""
    if width == 2:  # U+0085
        return data[i] == 0xC2 and data[i + 1] == 0x85
    if width == 3:  # U+1680, U+2028, U+2029
        if data[i] == 0xE1:
            return data[i + 1] == 0x9A and data[i + 2] == 0x80
        return data[i] == 0xE2 and data[i + 1] == 0x80 and 0xA8 <= data[i + 2] <= 0xA9
    return False
