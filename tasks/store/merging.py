"""Merging small vector files: each build leaves one, and every plan opens them all.

    small files of a vector key, of one week → merged-<digest of their names>.parquet, then unlinked

Files of different weeks stay apart, so that vectors nobody uses expire. The merged file is in place
before the small ones go, and is looked into first, so whoever begins in between reads that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from schemas.identity import digest_json
from tasks.store.vectors import MERGED, VECTORS, vectors_folder
from tasks.store.workdir import ROWS_PER_GROUP, TEMPORARY, Store

SMALL_BYTES = 32 << 20
"""A vector file of more bytes stays as it is: 20,000 vectors of 384 dimensions, ten full shards."""

FEWEST_FILES = 4
"""Small files that are worth merging."""

WEEK = 7 * 86_400


def merge_vectors(store: Store, alone: Callable[[], bool]) -> int:
    """Merge the small vector files of each key; returns how many files went.

    `alone` tells whether nobody else is at work in the `workdir`: it is asked again before files
    are unlinked, since whoever began meanwhile may have listed them.
    """
    gone = 0
    for folder in sorted((Path(store.root) / VECTORS).glob("*")):
        for files in _groups(folder):
            if not alone():
                return gone
            gone += _merge(store, folder.name, files, alone)
    return gone


def _groups(folder: Path) -> list[list[Path]]:
    """Small files that were used in the same week, where there are enough of them."""
    weeks: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        state = path.stat()
        if not path.name.startswith(TEMPORARY) and state.st_size < SMALL_BYTES:
            weeks.setdefault(int(state.st_mtime // WEEK), []).append(path)
    return [files for files in weeks.values() if len(files) >= FEWEST_FILES]


def _merge(store: Store, vector_key: str, files: list[Path], alone: Callable[[], bool]) -> int:
    name = f"{MERGED}{digest_json([path.name for path in files])}"
    used = max(path.stat().st_mtime for path in files)
    folder = vectors_folder(vector_key)
    schema = pq.read_schema(files[0])
    with store.create(folder, name) as path:
        options = {"compression": "none", "use_dictionary": False}
        with pq.ParquetWriter(path, schema, **options) as writer:
            for file in files:
                for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_GROUP):
                    writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
        os.utime(path, (used, used))
    if not alone():
        return 0  # the next upkeep merges them anew
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)
