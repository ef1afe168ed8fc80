"""Merging small files of vectors, signatures and compared pairs: each build leaves one of each, and
the next ones open them all.

    small files of a folder, of one week → merged-<digest of their names>, then unlinked

Files of different weeks stay apart, so that vectors nobody uses expire. The merged file is in place
before the small ones go, and is looked into first, so whoever begins in between reads that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
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
            gone += _merge(store, vectors_folder(folder.name), files, alone)
    return gone


def merge_signatures(store: Store, alone: Callable[[], bool]) -> int:
    """The same for the signatures of texts and the pairs of them that were compared."""
    gone = 0
    for name, suffix, write in SIGNED:
        for folder in sorted((Path(store.root) / name).glob("*")):
            for files in _groups(folder, suffix):
                if not alone():
                    return gone
                gone += _merge(store, f"{name}/{folder.name}", files, alone, suffix, write)
    return gone


def _groups(folder: Path, suffix: str = ".parquet") -> list[list[Path]]:
    """Small files that were used in the same week, where there are enough of them."""
    weeks: dict[int, list[Path]] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        state = path.stat()
        if not path.name.startswith(TEMPORARY) and state.st_size < SMALL_BYTES:
            weeks.setdefault(int(state.st_mtime // WEEK), []).append(path)
    return [files for files in weeks.values() if len(files) >= FEWEST_FILES]


def _write_parquet(files: list[Path], path: Path) -> None:
    options = {"compression": "none", "use_dictionary": False}
    with pq.ParquetWriter(path, pq.read_schema(files[0]), **options) as writer:
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_GROUP):
                writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)


def _write_arrow(files: list[Path], path: Path) -> None:
    with pa.ipc.open_file(files[0]) as first:
        schema = first.schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for file in files:
            with pa.ipc.open_file(file) as reader:
                for number in range(reader.num_record_batches):
                    writer.write_batch(reader.get_batch(number))


Write = Callable[[list[Path], Path], None]

SIGNED: tuple[tuple[str, str, Write], ...] = (
    ("signatures", ".arrow", _write_arrow),
    ("near-pairs", ".parquet", _write_parquet),
)
"""Folder, ending of its files, and what writes some of them as one."""


def _merge(
    store: Store,
    folder: str,
    files: list[Path],
    alone: Callable[[], bool],
    suffix: str = ".parquet",
    write: Write = _write_parquet,
) -> int:
    name = f"{MERGED}{digest_json([path.name for path in files])}"
    used = max(path.stat().st_mtime for path in files)
    with store.create(folder, name, suffix) as path:
        write(files, path)
        os.utime(path, (used, used))
    if not alone():
        return 0  # the next upkeep merges them anew
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)
