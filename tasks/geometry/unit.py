"""Vectors as fits see them: rounded to float16 and back, then brought to length 1."""

from __future__ import annotations

import numpy as np


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """float32 `(n, d)` at length 1, of what float16 keeps of `vectors`; zero without direction.

    The rounding makes those of a published float16 table and those of the workdir (float32) the
    same. A vector that is zero or not finite has no direction.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = vectors.astype(np.float16).astype(np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", rounded, rounded))  # the same in any batch
        lost = ~np.isfinite(lengths) | (lengths == 0)
        unit = rounded / np.where(lost, 1, lengths)[:, None]
    unit[lost] = 0
    return unit
