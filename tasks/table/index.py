"""Indexes of the published table: full text where there is text, vectors where it is large.

There is no scalar index on `id`: plans read the whole column (1 M rows: 0.03 s), and a BTREE makes
Lance's own upsert race worse (FACTS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.manifest import Manifest
from tasks.table.dataset import TableRef, open_main
from tasks.table.history import is_conflict

VECTOR_INDEX_ROWS = 100_000
"""Below this exact search is quick enough (200 k × 384: 176 ms) and always right."""

PARTITION_ROWS = 4_096
"""Rows of an IVF partition: with Lance's 20 probes recall was 1.0 on 200 k × 384."""

TRAINING_ROWS = 64
"""Rows for each partition that its centroids are trained on. Lance's own 256 take twice as long on
1 M × 128 float16 (92 CPU-s, 45 so; recall 1.0 both ways)."""

TEXT_INDEX = "text_idx"
VECTOR_INDEX = "vector_idx"


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
    """Make the indexes that are missing and take fresh rows into those that exist.

    Each step is a version of its own on main, without a manifest. Two builders at once are fine.
    """
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
        _take_fresh_rows(ref)


def indexed_columns(dataset: Any) -> dict[str, str]:
    """Column → name of the index on it."""
    return {
        field: index.name for index in dataset.describe_indices() for field in index.field_names
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


def _vector_index(dataset: Any) -> None:
    dataset.create_index(
        "vector",
        "IVF_FLAT",
        name=VECTOR_INDEX,
        metric="cosine",
        target_partition_size=PARTITION_ROWS,
        sample_rate=TRAINING_ROWS,
    )


def _unless_made(ref: TableRef, column: str, make: Callable[[Any], None]) -> None:
    try:
        make(open_main(ref))
    except Exception as error:
        # Somebody who finishes the same release was first; else it is a real error.
        if not (is_conflict(error) and column in indexed_columns(open_main(ref))):
            raise


def _take_fresh_rows(ref: TableRef) -> None:
    try:
        open_main(ref).optimize.optimize_indices()
    except Exception as error:
        # Another finisher did it, or a build's commit came in between: fresh rows are found
        # without it, only slower, and the next release takes them in.
        if not is_conflict(error):
            raise
