"""Vectors in the `workdir`, found by content hash: `vectors/<vector key>/*.parquet`.

Which shard made a vector does not matter; a content that any file holds is never embedded again.
A file is named after the contents that it holds and sorted by them, so that two builders who write
the same file write the same rows.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.store.hashes import prefixes, repeated
from tasks.store.workdir import Store, mark_used

HELD_BYTES = 96 << 20
"""Bytes of vector files kept in memory while rows are put together: three or four large ones, or
hundreds of small ones."""

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

    Returns columns content_hash (binary, unique), file (categorical), at (uint32, row in the file).
    """
    for _ in range(LISTINGS - 1):
        try:
            return _index(store, vector_key)
        except FileNotFoundError:
            continue
    return _index(store, vector_key)


def _index(store: Store, vector_key: str) -> pl.DataFrame:
    files = store.files(vectors_folder(vector_key))
    paths = [str(p) for p in sorted(files, key=lambda path: not path.name.startswith(MERGED))]
    kind = pl.Enum(paths)  # a number for each row instead of a path
    schema = {"content_hash": pl.Binary, "file": kind, "at": pl.UInt32}
    frames = [
        pl.DataFrame({"content_hash": pl.Series(_hashes(path).cast(pa.binary()))})
        .with_row_index("at")
        .with_columns(file=pl.lit(path, kind))
        .select(list(schema))
        for path in paths
    ]
    every = pl.concat([pl.DataFrame(schema=schema), *frames])
    held = [prefixes(_hashes(path)) for path in paths]
    if not repeated(np.concatenate([np.empty(0, np.uint64), *held])).any():
        return every
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
        out[rows["out"].to_numpy()] = _HELD.load(str(file))[rows["at"].to_numpy()]
    return out


@lru_cache(None)
def _hashes(path: str) -> pa.Array:
    """A file's content hashes, kept for good: its name says which they are. 16 MB a million."""
    return pq.read_table(path, columns=["content_hash"]).column("content_hash").combine_chunks()


class _HeldFiles:
    """The vectors of the files that were read last, float32 `(n, d)` each, up to `HELD_BYTES`."""

    def __init__(self) -> None:
        self._files: dict[str, np.ndarray] = {}  # the one that was used last stands last
        self._lock = Lock()

    def load(self, path: str) -> np.ndarray:
        """The file's vectors; it stays held when it is larger than all that may be, alone."""
        with self._lock:
            found = self._files.pop(path, None)
            if found is None:
                found = _read(path)
            self._files[path] = found
            while len(self._files) > 1 and sum(f.nbytes for f in self._files.values()) > HELD_BYTES:
                self._files.pop(next(iter(self._files)))
            return found

    def clear(self) -> None:
        """Let go of them."""
        with self._lock:
            self._files.clear()


_HELD = _HeldFiles()


def release_vectors() -> None:
    """Let go of the files that `read_vectors` holds: nobody looks for their rows any more."""
    _HELD.clear()


def _read(path: str) -> np.ndarray:
    column = pq.read_table(path, columns=["vector"]).column("vector").combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)
