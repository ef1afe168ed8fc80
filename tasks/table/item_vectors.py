"""The vectors of items: from the `workdir` by content hash, else from the published table."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from schemas.errors import VecmillError
from tasks.store.hashes import frame_hashes
from tasks.store.vectors import VectorIndex, read_vectors
from tasks.table.vectors import vectors_at


def located(rows: pl.DataFrame, index: VectorIndex) -> pl.DataFrame:
    """`rows` (a column content_hash) with file and at, where the `workdir` has their vectors."""
    return rows.hstack(index.find(frame_hashes(rows["content_hash"])))


def item_vectors(rows: pl.DataFrame, dimensions: int, dataset: Any | None) -> np.ndarray:
    """float32 `(n, dimensions)`, in the order of `rows`.

    `rows` have columns id, file, at (of `located`) and vector_rowaddr, the address of a row of
    `dataset` with the same content. Raises `VecmillError` where a row has neither.
    """
    out = np.empty((rows.height, dimensions), np.float32)
    stored = rows["file"].is_not_null().to_numpy()
    if stored.any():
        out[stored] = read_vectors(rows.filter(pl.col("file").is_not_null()), dimensions)
    others = rows.filter(pl.col("file").is_null())
    if others.height:
        lost = others.filter(pl.col("vector_rowaddr").is_null())
        if lost.height or dataset is None:
            raise VecmillError(
                f"no vector for {others['id'][0]!r} (and {others.height - 1} more rows): expected "
                "it in the workdir or in the published table; build again to embed it"
            )
        out[~stored] = vectors_at(dataset, others["vector_rowaddr"].to_numpy())
    return out
