"""The staged files: whatever in the `workdir` holds one of the records goes.

Files there are content-addressed: without them the next build of any space that shares the
`workdir` makes them again, without what was forgotten. Vectors are found by content, not by record:
those of a content that a row that stays has, too, stay; others are taken out of their file.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.identity import digest_json, item_ids
from tasks.erase.asked import Asked
from tasks.erase.holders import TEXTS_HELD
from tasks.store.workdir import ROWS_PER_GROUP, TEMPORARY, Store

TABLES = ("records", "documents", "rejects", "near", "duplicates", "plans", "items")
"""Folders of parquet files that name records. Items go last: they tell which contents were theirs,
should the erasure be killed and begun again."""

VECTORS = "vectors"
VERDICTS = ("verdicts", "refused", "repeats", "near-pictures", "neighbours")
"""What quotes keys or contents in words of its own, or names contents by hash; all of it goes,
since it is judged again."""

COMPARED = ("text-hashes", "signatures", "near-pairs", "near-texts")
"""Texts as they are compared, and what is derived of them, by hashes that name no record; all of it
goes: the next build makes it again, some 50,000 texts a second."""

REPORTS = "reports"
TOMBSTONES = "tombstones"

NAMELESS = ("retries", "claims")
"""What says which file stands for which, by digests alone."""

FOLDERS = (*TABLES, VECTORS, *VERDICTS, *COMPARED, *NAMELESS, REPORTS, TOMBSTONES)
"""What builds write in a `workdir` besides leases; nothing else in it is looked at or touched."""

NAMES = ("id", "duplicate_of", "kept_id")
"""Columns that name a record by id."""


@dataclass(frozen=True)
class Staged:
    """What the `workdir` holds of the records, and the files that go with them."""

    files: tuple[Path, ...]  # that hold one, in the order in which they go
    unreadable: tuple[Path, ...]  # half-written or damaged: they go, since nobody can tell
    reports: tuple[Path, ...]
    verdicts: tuple[Path, ...]
    texts: tuple[str, ...]
    contents: frozenset[bytes]

    @property
    def going(self) -> tuple[Path, ...]:
        """Every file that goes."""
        return (*self.unreadable, *self.reports, *self.verdicts, *self.files)


def look_at_staged(root: str, space: str, asked: Asked) -> Staged:
    """What of the records lies in the `workdir` at `root`."""
    folder = Path(root)
    files: list[Path] = []
    unreadable: list[Path] = []
    texts: dict[str, None] = {}
    contents: set[bytes] = set()
    for name in TABLES:
        for path in sorted((folder / name).glob("*.parquet")):
            try:
                found = _held(path, asked)
            except pa.ArrowInvalid:
                unreadable.append(path)
                continue
            if found is not None:
                files.append(path)
                texts.update(dict.fromkeys(found[0]))
                contents |= found[1]
    # Nobody is at work in this `workdir`: what is unfinished belongs to the dead.
    for name in FOLDERS:
        if name != REPORTS:
            unreadable += sorted((folder / name).rglob(f"{TEMPORARY}*"))
    return Staged(
        tuple(files),
        tuple(dict.fromkeys(unreadable)),
        tuple(sorted((folder / REPORTS / space).rglob("*"))),
        tuple(
            path for name in (*VERDICTS, *COMPARED) for path in sorted((folder / name).glob("*"))
        ),
        tuple(texts),
        frozenset(contents),
    )


def _held(path: Path, asked: Asked) -> tuple[list[str], set[bytes]] | None:
    """The records' texts and contents in a parquet file; None where it does not name them."""
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    found: tuple[list[str], set[bytes]] | None = None
    wanted = [n for n in (*NAMES, "source", "key", "text", "content_hash") if n in names]
    for batch in file.iter_batches(ROWS_PER_GROUP, columns=wanted):
        held = named_rows(batch, asked)
        if held is not None and held.any():
            texts, contents = found or ([], set())
            rows = pl.DataFrame(batch).filter(held)
            if "text" in names:
                texts += rows["text"].drop_nulls().head(TEXTS_HELD - len(texts)).to_list()
            if "content_hash" in names:
                contents.update(rows["content_hash"].drop_nulls())
            found = texts, contents
    return found


def named_rows(batch: pa.RecordBatch, asked: Asked) -> pl.Series | None:
    """Which rows name one of the records; None where the columns cannot."""
    held: pl.Series | None = None
    for name in NAMES:
        if name in batch.schema.names:
            mine = asked.named(pl.Series(name, batch.column(name)).cast(pl.String))
            held = mine if held is None else held | mine
    if {"source", "key"} <= set(batch.schema.names):
        sources, keys = (
            pa.chunked_array([batch.column(name).cast(pa.string())]) for name in ("source", "key")
        )
        mine = asked.named(pl.Series("id", item_ids(sources, keys, None)).cast(pl.String))
        held = mine if held is None else held | mine
    return held


def sweep_staged(
    root: str, staged: Staged, contents: Collection[bytes], shared: Collection[bytes]
) -> int:
    """Remove the files, and the vectors of `contents` unless `shared`; returns vectors removed.

    Vectors first: until the items are gone the erasure can be begun again.
    """
    removed = drop_vectors(root, frozenset(contents) - frozenset(shared))
    for path in staged.going:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return removed


def vector_files(root: str) -> Iterator[Path]:
    """Every finished file of vectors."""
    for path in sorted((Path(root) / VECTORS).rglob("*.parquet")):
        if not path.name.startswith(TEMPORARY):
            yield path


def drop_vectors(root: str, contents: frozenset[bytes]) -> int:
    """Write each file that holds a vector of `contents` anew without it; how many went."""
    removed = 0
    for path in vector_files(root) if contents else ():
        known = pl.read_parquet(path, columns=["content_hash"])["content_hash"]
        gone = known.is_in(list(contents))
        if not gone.any():
            continue
        removed += int(gone.sum())
        left = pq.read_table(path).filter(pa.array((~gone).to_numpy()))
        if left.num_rows:
            name = digest_json(
                [path.stem, sorted(each.hex() for each in left["content_hash"].to_pylist())]
            )
            store = Store(root, owner="forget")
            with store.create(str(path.parent.relative_to(root)), name) as part:
                pq.write_table(left, part, row_group_size=ROWS_PER_GROUP)
        path.unlink()
    return removed
