"""Vectors in the `workdir`, found by content hash: `vectors/<vector key>/*.parquet`.

Which shard made a vector does not matter; a content that any file holds is never embedded again.
A file is named after the contents that it holds and sorted by them, so that two builders who write
the same file write the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.identity import HASH_BYTES
from tasks.store.batches import read_batches
from tasks.store.hashes import hash_values, prefixes
from tasks.store.workdir import ROWS_PER_GROUP, Store, mark_used

HELD_BYTES = 32 << 20
"""Bytes of vector files kept in memory while rows are put together: one large one, or hundreds of
small ones. Rows come in the order in which they were embedded, so a file is seldom looked into
again."""

VECTORS = "vectors"

MERGED = "merged-"
"""Begins the names of files that upkeep put together: looked into before the files they replace."""

LISTINGS = 5
"""Times that the files are listed again because upkeep merged some of them meanwhile."""


def vectors_folder(vector_key: str) -> str:
    """The folder, below the `workdir`, of the vectors that share a vector key."""
    return f"{VECTORS}/{vector_key}"


class VectorIndex:
    """Where each known content's vector lies: 32 bytes a content, whatever its place is called.

    `files` come in the order in which they are looked into; `hashes` (`S16`) are all they hold.
    """

    def __init__(self, files: Sequence[str], held: Sequence[np.ndarray]) -> None:
        self.files = list(files)
        self.hashes = np.concatenate([np.empty(0, f"S{HASH_BYTES}"), *held])
        self._names = pl.Series(self.files, dtype=pl.Enum(self.files))
        order = np.argsort(prefixes(self.hashes), kind="stable")  # of equals the first file's
        sizes = [len(each) for each in held]
        self._file = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[order]
        rows = [np.arange(n, dtype=np.uint32) for n in sizes]
        self._at = np.concatenate([np.empty(0, np.uint32), *rows])[order]
        self.hashes = self.hashes[order]
        self._prefixes = prefixes(self.hashes)

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, hashes: np.ndarray) -> pl.DataFrame:
        """For each of the hashes (`S16`) file (an enum) and at (uint32, row in the file), or nulls.

        Eight bytes are searched for, and then compared whole.
        """
        wanted = prefixes(hashes)
        at = np.searchsorted(self._prefixes, wanted)
        found = np.full(len(hashes), -1, np.int64)
        left = np.flatnonzero(at < len(self))
        while len(left):  # once, but for different contents whose hashes begin alike
            left = left[self._prefixes[at[left]] == wanted[left]]
            same = self.hashes[at[left]] == hashes[left]
            found[left[same]] = at[left[same]]
            left = left[~same]
            at[left] += 1
            left = left[at[left] < len(self)]
        places = pl.DataFrame({"place": found}).select(
            pl.when(pl.col("place") >= 0).then(pl.col("place"))
        )["place"]
        return pl.DataFrame(
            {
                "file": self._names.gather(pl.Series(self._file).gather(places)),
                "at": pl.Series(self._at).gather(places),
            }
        )


def vector_index(store: Store, vector_key: str) -> VectorIndex:
    """Where each known content's vector lies by now."""
    for _ in range(LISTINGS - 1):
        try:
            return _index(store, vector_key)
        except FileNotFoundError:
            continue
    return _index(store, vector_key)


def _index(store: Store, vector_key: str) -> VectorIndex:
    files = store.files(vectors_folder(vector_key))
    paths = [str(p) for p in sorted(files, key=lambda path: not path.name.startswith(MERGED))]
    return VectorIndex(paths, [hash_values(_hashes(path)) for path in paths])


def known_contents(store: Store, vector_key: str, hashes: pa.Array) -> np.ndarray:
    """Which of the content hashes (fixed binary 16) have a vector by now: bool `[n]`.

    A listing, and a look into the files that this process has not met yet.
    """
    names = store.file_names(vectors_folder(vector_key))
    known = _MET.may_hold(vectors_folder(vector_key), names, prefixes(hash_values(hashes)))
    maybe = np.flatnonzero(known)  # mostly none: the plan left out what was known by then
    if len(maybe):
        asked = hashes.take(pa.array(maybe))
        exact = np.zeros(len(maybe), bool)
        for name in names:
            found = pc.is_in(asked, value_set=_hashes(name))
            exact |= found.to_numpy(zero_copy_only=False)
        known[maybe] = exact
    return known


class _MetFiles:
    """The beginnings of the content hashes of every file that this process has met, by folder.

    Kept as a few sorted arrays, each at least twice as long as the next: a file is merged into
    them as digits are carried, so that n shards cost n log n and not n² looks.
    """

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._levels: dict[str, list[np.ndarray]] = {}
        self._lock = Lock()

    def may_hold(self, folder: str, names: Sequence[str], wanted: np.ndarray) -> np.ndarray:
        """Which of the beginnings (uint64) some file has, gone ones perhaps too: bool `[n]`."""
        with self._lock:
            met = self._names.setdefault(folder, set())
            levels = self._levels.setdefault(folder, [])
            for name in names:
                if name not in met:
                    _carry(levels, np.sort(prefixes(hash_values(_hashes(name)))))
                    met.add(name)
            held = list(levels)
        found = np.zeros(len(wanted), bool)
        for level in held:
            places = np.minimum(np.searchsorted(level, wanted), len(level) - 1)
            found |= level[places] == wanted
        return found

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._names.clear()
            self._levels.clear()


def _carry(levels: list[np.ndarray], fresh: np.ndarray) -> None:
    if not len(fresh):
        return
    while levels and len(levels[-1]) <= 2 * len(fresh):
        fresh = np.concatenate([levels.pop(), fresh])
        fresh.sort(kind="stable")  # two sorted runs: one pass
    levels.append(fresh)


_MET = _MetFiles()


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
    """Let go of what is held of the files: nobody looks for their rows any more."""
    _HELD.clear()
    _MET.clear()
    _hashes.cache_clear()


def _read(path: str) -> np.ndarray:
    """A file's vectors, float32 `(n, d)`, one row group after the other."""
    width = pq.read_schema(path).field("vector").type.list_size
    out = np.empty((pq.read_metadata(path).num_rows, width), np.float32)
    start = 0
    for batch in read_batches(path, ROWS_PER_GROUP, ["vector"]):
        column = batch.column(0)
        out[start : start + len(column)] = column.flatten().to_numpy().reshape(-1, width)
        start += len(column)
    return out
