"""What stands in a system's table, compared with the documents that should be in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lancedb
import numpy as np

TABLE = "documents"
"""The name that every program gives its table."""


@dataclass(frozen=True)
class State:
    """The rows of a table, counted against the documents."""

    rows: int
    missing: int
    """Documents without a row."""
    repeated: int
    """Rows beyond the first of their document."""
    deleted_found: int
    """Rows of documents that are no longer there."""
    old_text: int
    """Rows whose text is not their document's."""
    worst: float | None
    """The greatest 1 - cosine between a row's vector and the loop's; null without rows or loop."""

    @property
    def whole(self) -> bool:
        """Every document once, as it is now, and nothing else."""
        return not (self.missing or self.repeated or self.deleted_found or self.old_text)


def read_state(
    folder: Path,
    key: str,
    tag: str | None,
    documents: Mapping[str, str],
    vectors: Mapping[str, np.ndarray] | None,
) -> State:
    """The state of the table in `folder`, read by plain lancedb as a consumer would.

    `key` is the column with the file's name, `tag` what its readers check out, if anything;
    `vectors` are the right ones by file name, float32 of unit length.
    """
    rows = _rows(folder, key, tag)
    counts = Counter(name for name, _, _ in rows)
    present = [row for row in rows if row[0] in documents]
    distances = [
        1 - float(vector @ vectors[name] / np.linalg.norm(vector))
        for name, text, vector in present
        if vectors is not None and text.strip() == documents[name].strip()
    ]
    return State(
        rows=len(rows),
        missing=sum(name not in counts for name in documents),
        repeated=sum(count - 1 for count in counts.values()),
        deleted_found=len(rows) - len(present),
        old_text=sum(text.strip() != documents[name].strip() for name, text, _ in present),
        worst=max(distances, default=None),
    )


def _rows(folder: Path, key: str, tag: str | None) -> list[tuple[str, str, np.ndarray]]:
    """(file name, text, float32 vector) of each row; none where there is no table yet."""
    if not (folder / f"{TABLE}.lance").is_dir():
        return []
    table = lancedb.connect(folder).open_table(TABLE)
    if tag is not None:
        if tag not in table.tags.list():
            return []
        table.checkout(tag)
    found = table.to_arrow().select([key, "text", "vector"])
    names, texts = found.column(key).to_pylist(), found.column("text").to_pylist()
    vectors = np.asarray(found.column("vector").to_pylist(), np.float32)
    return list(zip(names, texts, vectors, strict=True))
