"""A vector index built a segment at a time, so that its memory does not grow with the table.

    centroids ─ partitions of all rows → one file
      └ fragments, some at a time ─ a segment each ─ merged, partition by partition → one commit

Built at once, Lance holds all vectors (1 M × 128 float16: 310 MB beside 40 for the partitions); by
segments of `SEGMENT_ROWS` it takes 90, for the same CPU time and the same index.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tasks.table.history import is_conflict
from tasks.table.partitions import assignments

SEGMENT_ROWS = 1 << 17
"""Rows of a segment, if the fragments are no larger."""

ONE_FILE = 1 << 31
"""Most rows of a file that Lance takes partitions from, since it wants all of them in one. (From
2^32 on Lance makes a file of each batch.)"""


def build_by_segments(dataset: Any, name: str, found: np.ndarray, replace: bool) -> None:
    """Build an IVF_FLAT index (cosine) on `vector` with these centroids, float32 `(k, d)`.

    One commit on main, which conflicts with any other index of that name made meanwhile. What a
    build that is killed leaves in `_indices/` the sweep of the table finds.
    """
    import lance

    value = dataset.schema.field("vector").type.value_type
    exact = found.astype(value.to_pandas_dtype())
    with tempfile.TemporaryDirectory(prefix="vecmill-index-") as folder:
        where = f"{folder}/partitions.lance"
        lance.write_dataset(assignments(dataset, found), where, max_rows_per_file=ONE_FILE)
        segments: list[Any] = []
        try:
            for fragments in _groups(dataset):
                segments.append(
                    dataset.create_index_uncommitted(
                        *("vector", "IVF_FLAT", name, "cosine", replace),
                        ivf_centroids=exact,
                        precomputed_partition_dataset=where,
                        fragment_ids=fragments,
                    )
                )
            whole = segments[0]
            if len(segments) > 1:
                whole = dataset.merge_existing_index_segments(segments)
                segments.append(whole)
            try:
                dataset.commit_existing_index_segments(name, "vector", [whole])
            except Exception as error:
                if not is_conflict(error):  # a store may have made the commit and then denied it
                    segments.remove(whole)
                raise
            segments.remove(whole)
        finally:
            _drop(dataset, segments)


def _groups(dataset: Any) -> Iterator[list[int]]:
    """The fragments' ids in order, about `SEGMENT_ROWS` rows together."""
    group: list[int] = []
    rows = 0
    for fragment in dataset.get_fragments():
        size = fragment.count_rows()
        if group and rows + size > SEGMENT_ROWS:
            yield group
            group, rows = [], 0
        group.append(fragment.fragment_id)
        rows += size
    if group:
        yield group


def _drop(dataset: Any, segments: Sequence[Any]) -> None:
    """Unlink segments that no version refers to."""
    session = dataset.new_file_session()
    for segment in segments:
        folder = f"_indices/{segment.uuid}"
        for file in segment.files or ():
            if session.contains(f"{folder}/{file.path}"):
                session.delete_file(f"{folder}/{file.path}")
        if "://" not in dataset.uri:
            with suppress(OSError):  # something else lies there: the sweep looks at it
                (Path(dataset.uri) / folder).rmdir()
