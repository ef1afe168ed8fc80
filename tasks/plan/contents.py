"""The contents that must be embedded: distinct, without a vector in the `workdir` or the base.

plan, some rows at a time − known → the first row of each → what the items files say of those

Held for each content are its hash and its place, 28 bytes; the rest is read again when it is
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from schemas.identity import HASH_BYTES
from schemas.refs import ItemsPart
from tasks.store.hashes import frame_hashes, prefixes, repeated
from tasks.store.items import item_frames
from tasks.store.vectors import VectorIndex

KIND_ORDER = ("text", "image")
"""Shards are of one kind: all texts first."""

COLUMNS = ["content_hash", "id", "source", "key", "uri", "size"]


class MissingContents:
    """Gathers the contents without a vector from the rows of a plan, which come in item order.

    `known` are the vectors in the `workdir`; `overwrite`: every row is written.
    """

    def __init__(self, items: Sequence[ItemsPart], known: VectorIndex, overwrite: bool) -> None:
        self._items = items
        self._number = {part.path: n for n, part in enumerate(items)}
        self._known = known
        self._written = pl.col("vector_rowaddr").is_null()
        if not overwrite:
            self._written &= pl.col("class") != "unchanged"
        self._hashes = [np.empty(0, f"S{HASH_BYTES}")]
        self._parts = [np.empty(0, np.int32)]
        self._rows = [np.empty(0, np.int64)]

    def add(self, plan: pl.DataFrame) -> None:
        """Take in rows of the plan: columns class, content_hash, part, row, vector_rowaddr."""
        wanted = plan.select("class", "content_hash", "part", "row", "vector_rowaddr")
        wanted = wanted.filter(self._written)
        hashes = frame_hashes(wanted["content_hash"])
        missing = self._known.find(hashes)["file"].is_null()
        found = wanted.filter(missing)
        self._hashes.append(hashes[missing.to_numpy()])
        numbers = found["part"].replace_strict(self._number, return_dtype=pl.Int32)
        self._parts.append(numbers.to_numpy())
        self._rows.append(found["row"].to_numpy())

    def distinct(self) -> Contents:
        """The first place of each content."""
        hashes, parts, rows = map(np.concatenate, (self._hashes, self._parts, self._rows))
        first = np.ones(len(hashes), bool)
        again = np.flatnonzero(repeated(prefixes(hashes)))
        if len(again):
            _, kept = np.unique(hashes[again], return_index=True)
            first[again] = False
            first[again[kept]] = True
        return Contents(self._items, parts[first], rows[first])


class Contents:
    """Where the contents stand: `parts` (int32, numbers of the items files) and `rows` (int64)."""

    def __init__(self, items: Sequence[ItemsPart], parts: np.ndarray, rows: np.ndarray) -> None:
        self._items, self._parts, self._rows = items, parts, rows

    def __len__(self) -> int:
        return len(self._rows)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows of `CONTENTS` in `schemas.arrow`: text first, each kind in item order."""
        for kind in KIND_ORDER:
            for number, part in enumerate(self._items):
                if part.kind == kind and len(rows := self._rows[self._parts == number]):
                    wanted = np.zeros(part.items, bool)
                    wanted[rows] = True
                    for frame in item_frames([part], COLUMNS):
                        here = pl.Series(wanted[frame["row"].to_numpy()])
                        yield frame.filter(here).with_columns(pl.lit(kind).alias("kind"))
