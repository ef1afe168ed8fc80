"""Indexes of the published table: full text where there is text, vectors where it is large.

There is no scalar index on `id`: plans read the whole column (1 M rows: 0.03 s), and a BTREE makes
Lance's own upsert race worse (FACTS).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.manifest import Manifest
from tasks.store.memory import frugal
from tasks.table.dataset import TableRef, open_main
from tasks.table.history import is_conflict
from tasks.table.partitions import centroids, trainable
from tasks.table.segments import build_by_segments

VECTOR_INDEX_ROWS = 100_000
"""Below this exact search is quick enough (200 k × 384: 176 ms) and always right."""

PARTITION_ROWS = 4_096
"""Rows of an IVF partition: with Lance's 20 probes recall was 1.0 on 200 k × 384."""

FRESH_SHARE = 0.05
"""Share of rows outside an index beyond which they are taken into it. For 1,000 rows of 100 k × 384
that wrote 1.4 MB (the rows are 0.9 MB), and 14 MB where the text index was merged."""

FRESH_ROWS = 50_000
"""Rows outside an index beyond which they are taken in, whatever their share: an exact scan of
200 k takes 176 ms, and of 50 k a quarter of that."""

SEGMENTS = 8
"""Pieces of an index, each searched in turn, that a publish merges, where nobody maintains."""

PIECES = 6
"""Pieces that `maintain` merges: the old ones stay for the releases that are kept."""

OUTGROWN = 2.0
"""Rows for each partition, over `PARTITION_ROWS`, from which on the centroids are trained again."""

TEXT_INDEX = "text_idx"
VECTOR_INDEX = "vector_idx"

REMAP = "__lance_frag_reuse"
"""Lance's map from the row addresses before a compaction to those after it. It grows with each, and
nothing but dropping it makes it small again: that is right once every index is newer than it."""


@dataclass(frozen=True)
class IndexRule:
    """Which indexes a space has: `text` where it has text sources, `vector` unless switched off."""

    text: bool
    vector: bool


def index_rule(manifest: Manifest) -> IndexRule:
    """The rule that a build's own spec asks for, so that anybody can finish its release."""
    spec = manifest.resolved_spec
    sources = spec.get("sources", [])
    return IndexRule(
        text=any(source.get("kind") == "text" for source in sources),
        vector=spec.get("publish", {}).get("index", "auto") == "auto",
    )


def build_indexes(ref: TableRef, rule: IndexRule) -> None:
    """Make the indexes that are missing; take fresh rows into those that many rows are not in.

    Rows that no index knows are scanned by every search (exact, both for vectors and full text),
    so that a small build writes nothing into the indexes. Each step is a version of its own on
    main, without a manifest. Two builders at once are fine.
    """
    with frugal():
        _build_indexes(ref, rule)


def _build_indexes(ref: TableRef, rule: IndexRule) -> None:
    dataset = open_main(ref)
    rows = dataset.count_rows()
    if rows == 0:
        return
    present = indexed_columns(dataset)
    if rule.text and "text" not in present:
        _unless_made(ref, "text", _text_index)
    if rule.vector and rows >= VECTOR_INDEX_ROWS and "vector" not in present:
        _unless_made(ref, "vector", _vector_index)
    if not rule.vector and present.get("vector") == VECTOR_INDEX:
        dataset.drop_index(VECTOR_INDEX)
    if present:
        take_fresh_rows(ref)


def indexed_columns(dataset: Any) -> dict[str, str]:
    """Column → name of the index on it."""
    return {
        field: index.name
        for index in dataset.describe_indices()
        if index.name != REMAP
        for field in index.field_names
    }


def _text_index(dataset: Any) -> None:
    # Stop words stay: "to be or not to be" must find itself, and BM25 weighs them down anyway.
    dataset.create_scalar_index(
        "text",
        "INVERTED",
        name=TEXT_INDEX,
        with_position=False,
        stem=True,
        remove_stop_words=False,
        ascii_folding=True,
    )


def _vector_index(dataset: Any, replace: bool = False) -> None:
    kind = dataset.schema.field("vector").type
    wanted = -(-dataset.count_rows() // PARTITION_ROWS)
    found = centroids(dataset, wanted) if trainable(wanted, kind.list_size) else None
    if found is None or not len(found):  # a table so large that Lance trains in steps, or nothing
        dataset.create_index(
            *("vector", "IVF_FLAT", VECTOR_INDEX, "cosine", replace),
            target_partition_size=PARTITION_ROWS,
        )
        return
    build_by_segments(dataset, VECTOR_INDEX, found, replace)


def _unless_made(ref: TableRef, column: str, make: Callable[[Any], None]) -> None:
    try:
        make(open_main(ref))
    except Exception as error:
        # Somebody who finishes the same release was first; else it is a real error.
        if not (is_conflict(error) and column in indexed_columns(open_main(ref))):
            raise


@dataclass(frozen=True)
class IndexState:
    """One index: the rows it knows, in how many pieces, and the rows of the table."""

    name: str
    segments: int
    indexed: int
    rows: int

    @property
    def fresh(self) -> int:
        """Rows that it does not know: each search scans them."""
        return max(self.rows - self.indexed, 0)

    @property
    def due(self) -> bool:
        """Whether its fresh rows are to be taken in."""
        return self.fresh > min(FRESH_SHARE * self.rows, FRESH_ROWS)


def index_states(dataset: Any) -> list[IndexState]:
    """The state of every index."""
    rows = dataset.count_rows()
    return [
        IndexState(index.name, len(index.segments), index.num_rows_indexed, rows)
        for index in dataset.describe_indices()
        if index.name != REMAP
    ]


def take_fresh_rows(ref: TableRef) -> list[str]:
    """Take the fresh rows into each index that is due: a piece of its own, until those are many.

    Returns the names of the indexes. Where another writer comes in between, nothing is done: fresh
    rows are found without it, only slower.
    """
    done = []
    for state in index_states(open_main(ref)):
        if state.due:
            many = state.segments >= SEGMENTS
            if _optimize(ref, state.name, state.segments if many else 0):
                done.append(state.name)
    return done


def tidy_indexes(ref: TableRef) -> list[str]:
    """Merge indexes of many pieces, and train an outgrown vector index again; says what it did.

    Raises what Lance raises on a conflict: the caller tries again.
    """
    dataset = open_main(ref)
    before, done = _pieces(dataset), []
    for state in index_states(dataset):
        if state.name == VECTOR_INDEX and outgrown(dataset):
            _vector_index(open_main(ref), replace=True)
            done.append(f"{state.name} trained again on {state.rows:,} rows")
        elif state.segments >= PIECES:
            open_main(ref).optimize.optimize_indices(
                num_indices_to_merge=state.segments, index_names=[state.name]
            )
            done.append(f"{state.name} merged from {state.segments} pieces")
    dataset = open_main(ref)
    remapped = any(index.name == REMAP for index in dataset.describe_indices())
    if remapped and not before & _pieces(dataset):  # none is older than the last compaction
        dataset.drop_index(REMAP)
    return done


def _pieces(dataset: Any) -> set[str]:
    return {
        str(piece.uuid)
        for index in dataset.describe_indices()
        if index.name != REMAP
        for piece in index.segments
    }


def outgrown(dataset: Any) -> bool:
    """Whether the vector index has so many rows a partition that its searches are slow."""
    # Statistics with all centroids are megabytes, and Lance warns of them.
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")
    pieces = dataset.stats.index_stats(VECTOR_INDEX)["indices"]
    partitions = max((piece.get("num_partitions", 0) for piece in pieces), default=0)
    return dataset.count_rows() > OUTGROWN * PARTITION_ROWS * max(partitions, 1)


def _optimize(ref: TableRef, name: str, merged: int) -> bool:
    try:
        open_main(ref).optimize.optimize_indices(num_indices_to_merge=merged, index_names=[name])
    except Exception as error:
        # Another finisher did it, or a build's commit came in between: the next release does it.
        if not is_conflict(error):
            raise
        return False
    return True
