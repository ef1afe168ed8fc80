"""The partitions of a vector index: centroids, and which of them each row is nearest to.

    vectors ─ a sample ─ spherical k-means → centroids
    vectors ─ some at a time ─ matrix product with the centroids → (row id, partition)

Lance would do both by itself, at float16 one value after the other: for 1 M × 128 that took 44
CPU-seconds, this takes 5 with the index, and finds the same (recall 1.0 both ways). Lance calls
partitions that are given to it experimental; its version is fixed.

Spherical k-means: Dhillon and Modha, 2001.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.table.vectors import matrix

TRAINING_ROWS = 64
"""Rows for each partition that its centroid is trained on. Lance's own 256 take twice as long, and
find no more on 1 M × 128."""

TRAINING_BYTES = 128 << 20
"""Most bytes of the sample, as float32."""

FEWEST_ROWS = 16
"""Rows for each partition that a sample must have: with fewer, the table is too large for this."""

ROUNDS = 10
"""Rounds of k-means: partitions need to be compact, not the best there are."""

SEED = 20_261_120
"""The same rows get the same partitions."""

BATCH_ROWS = 8_192

READ_AHEAD = 2
READ_BYTES = 32 << 20
"""Batches, fragments and bytes that Lance reads ahead: by itself it holds up to 2 GB."""

PARTITIONS = pa.schema([pa.field("row_id", pa.uint64()), pa.field("partition", pa.uint32())])


def trainable(partitions: int, dimensions: int) -> bool:
    """Whether so many centroids can be trained in `TRAINING_BYTES`."""
    return partitions * FEWEST_ROWS * dimensions * 4 <= TRAINING_BYTES


def centroids(dataset: Any, partitions: int) -> np.ndarray:
    """At most `partitions` unit vectors, float32 `(k, d)`; fewer where few rows have a direction.

    `dataset` is read once; at most `TRAINING_BYTES` are held.
    """
    dimensions = dataset.schema.field("vector").type.list_size
    rows = dataset.count_rows()
    most = TRAINING_BYTES // (4 * dimensions)
    draw = np.random.default_rng(SEED)
    size = min(rows, partitions * TRAINING_ROWS, most)
    chosen = np.sort(draw.choice(rows, size, replace=False))
    found, start = [np.empty((0, dimensions), np.float32)], 0
    for batch in _scan(dataset):
        first, last = np.searchsorted(chosen, [start, start + batch.num_rows])
        if last > first:
            here = pa.array(chosen[first:last] - start)
            found.append(matrix(batch.column("vector").take(here)))
        start += batch.num_rows
    return spherical_kmeans(np.concatenate(found), partitions, draw)


def spherical_kmeans(vectors: np.ndarray, k: int, draw: np.random.Generator) -> np.ndarray:
    """Centroids of `vectors`, float32 `(n, d)`, by cosine: unit vectors, float32 `(≤ k, d)`.

    Vectors that are zero or not finite are left out.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = unit[np.isfinite(unit).all(axis=1)]
    found = unit[draw.choice(len(unit), min(k, len(unit)), replace=False)]
    for _ in range(ROUNDS):
        nearest = _nearest(unit, found)
        order = np.argsort(nearest, kind="stable")
        owners, starts = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(unit[order], starts, axis=0) if len(order) else unit
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = norms[:, 0] > 0  # a centroid without rows, or between opposite ones, stays
        found[owners[moved]] = sums[moved] / norms[moved]
    return found


def assignments(dataset: Any, found: np.ndarray) -> pa.RecordBatchReader:
    """The row id of each row and the number of the centroid that it is nearest to by cosine.

    Rows whose vector is zero or not finite have none: no search finds them.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in _scan(dataset):
            vectors = matrix(batch.column("vector"))
            usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
            rows = batch.column("_rowid").to_numpy()[usable]
            nearest = _nearest(vectors[usable], found)
            yield pa.RecordBatch.from_arrays(
                [pa.array(rows, pa.uint64()), pa.array(nearest, pa.uint32())], schema=PARTITIONS
            )

    return pa.RecordBatchReader.from_batches(PARTITIONS, batches())


def _nearest(vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The number of the nearest of the unit vectors `found`, by cosine: int64 `(n,)`."""
    nearest = np.empty(len(vectors), np.int64)
    for start in range(
        0, len(vectors), BATCH_ROWS
    ):  # the product is as wide as there are centroids
        some = slice(start, start + BATCH_ROWS)
        nearest[some] = (vectors[some] @ found.T).argmax(axis=1)
    return nearest


def _scan(dataset: Any) -> Iterator[pa.RecordBatch]:
    """All vectors with their row ids, in order."""
    scanner = dataset.scanner(
        columns=["vector"],
        with_row_id=True,
        batch_size=BATCH_ROWS,
        batch_readahead=READ_AHEAD,
        fragment_readahead=READ_AHEAD,
        io_buffer_size=READ_BYTES,
    )
    yield from scanner.to_batches()
