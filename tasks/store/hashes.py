"""Content hashes as NumPy arrays: sixteen bytes a row, without a Python object for each."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.identity import HASH_BYTES


def hash_values(hashes: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Fixed binary 16 without nulls as `S16`, `[n]`: they sort and compare as their bytes do."""
    array = hashes.combine_chunks() if isinstance(hashes, pa.ChunkedArray) else hashes
    if array.null_count or array.type != pa.binary(HASH_BYTES):
        raise ValueError(f"hashes of {HASH_BYTES} bytes are expected, got {array.type} with nulls")
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.empty(0, f"S{HASH_BYTES}")
    return np.frombuffer(data, f"S{HASH_BYTES}", len(array), array.offset * HASH_BYTES)


def sorted_bytes(hashes: pa.Array | pa.ChunkedArray) -> bytes:
    """All the hashes one after the other, in the order of their bytes."""
    return np.sort(hash_values(hashes)).tobytes()


def prefixes(hashes: np.ndarray) -> np.ndarray:
    """The first eight bytes of each hash (`S16`), uint64 `[n]`: as random as the hash itself."""
    return np.ascontiguousarray(hashes).view(np.uint64)[::2].copy()


def frame_hashes(column: pl.Series) -> np.ndarray:
    """A Polars column of hashes (binary, without nulls) as `S16`, `[n]`."""
    return hash_values(column.to_arrow().cast(pa.binary()).cast(pa.binary(HASH_BYTES)))


def repeated(numbers: np.ndarray) -> np.ndarray:
    """Which of the uint64 stand more than once: bool `[n]`.

    Where they are hashes, most repeats are settled by eight bytes a row, and only those that are
    left need to be compared as they are.
    """
    ordered = np.sort(numbers)  # not by a hash table, which takes five times as much memory
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.isin(numbers, again) if len(again) else np.zeros(len(numbers), bool)
