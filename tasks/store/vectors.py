"""Vectors in the `workdir`, found by content hash: `vectors/<vector key>/*.parquet`.

Which shard made a vector does not matter; a content that any file holds is never embedded again.
A file is named after the contents that it holds and sorted by them, so that two builders who write
the same file write the same rows.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.store.workdir import Store, mark_used

FILES_HELD = 16
"""Vector files kept in memory while rows are put together: some MB each."""


VECTORS = "vectors"

MERGED = "merged-"
"""Begins the names of files that upkeep put together: looked into before the files they replace."""

LISTINGS = 5
"""Times that the files are listed again because upkeep merged some of them meanwhile."""


def vectors_folder(vector_key: str) -> str:
    """The folder, below the `workdir`, of the vectors that share a vector key."""
    return f"{VECTORS}/{vector_key}"


def vector_index(store: Store, vector_key: str) -> pl.DataFrame:
    """Where each known content's vector lies.

    Returns columns content_hash (binary, unique), file (str), at (uint32, row in the file).
    """
    for _ in range(LISTINGS - 1):
        try:
            return _index(store, vector_key)
        except FileNotFoundError:
            continue
    return _index(store, vector_key)


def _index(store: Store, vector_key: str) -> pl.DataFrame:
    files = store.files(vectors_folder(vector_key))
    frames = [
        pl.DataFrame({"content_hash": pl.Series(_hashes(str(path)).cast(pa.binary()))})
        .with_row_index("at")
        .with_columns(file=pl.lit(str(path)))
        for path in sorted(files, key=lambda path: not path.name.startswith(MERGED))
    ]
    if not frames:
        return pl.DataFrame(schema={"content_hash": pl.Binary, "file": pl.String, "at": pl.UInt32})
    every = pl.concat(frames).select("content_hash", "file", "at")
    return every.unique("content_hash", keep="first")


def known_contents(store: Store, vector_key: str, hashes: pa.Array) -> np.ndarray:
    """Which of the content hashes (fixed binary 16) have a vector by now: bool `[n]`.

    A listing, and a look into the files that this process has not met yet.
    """
    known = np.zeros(len(hashes), bool)
    for path in store.files(vectors_folder(vector_key)):
        found = pc.is_in(hashes, value_set=_hashes(str(path)))
        known |= found.to_numpy(zero_copy_only=False)
    return known


def read_vectors(places: pl.DataFrame, dimensions: int) -> np.ndarray:
    """The vectors at `places` (columns file, at), in that order: float32 `(n, dimensions)`."""
    out = np.empty((places.height, dimensions), np.float32)
    numbered = places.with_row_index("out")
    for (file,), rows in numbered.partition_by("file", as_dict=True).items():
        mark_used(Path(str(file)))
        out[rows["out"].to_numpy()] = _load(str(file))[rows["at"].to_numpy()]
    return out


@lru_cache(None)
def _hashes(path: str) -> pa.Array:
    """A file's content hashes, kept for good: its name says which they are. 16 MB a million."""
    return pq.read_table(path, columns=["content_hash"]).column("content_hash").combine_chunks()


@lru_cache(FILES_HELD)
def _load(path: str) -> np.ndarray:
    column = pq.read_table(path, columns=["vector"]).column("vector").combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)
