"""Norms and a flat picture of a sample of vectors: arrays in, arrays out."""

from __future__ import annotations

import numpy as np

BINS = 24
"""Bars of the norm histogram: enough to see two groups, few enough for a phone."""

FLAT = 1e-3
"""The narrowest range of norms that is drawn: float16 alone spreads unit vectors over 5e-4."""


def norm_histogram(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The distribution of the norms of `vectors`, float `(n, d)`.

    Returns edges float64 `(BINS + 1)`, counts int64 `(BINS)` and the mean norm. Values that are
    not finite are left out: the quality gate names them.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    norms = norms[np.isfinite(norms)]
    if not len(norms):
        return np.linspace(0, 1, BINS + 1), np.zeros(BINS, np.int64), 0.0
    low, high = float(norms.min()), float(norms.max())
    if high - low < FLAT:
        middle = (low + high) / 2
        low, high = middle - FLAT / 2, middle + FLAT / 2
    counts, edges = np.histogram(norms, bins=BINS, range=(low, high))
    return edges, counts, float(norms.mean())


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components of `vectors`, float `(n, d)`.

    Returns coordinates float64 `(n, 2)` and the share of the variance they carry (0 to 1). The
    sign of each axis is fixed by its largest loading, so that the same vectors always look the
    same. Rows with values that are not finite stand at the origin.
    """
    data = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0)
    data = data.astype(np.float64)
    data -= data.mean(axis=0) if len(data) else 0.0
    out = np.zeros((len(data), 2))
    if len(data) < 2 or data.shape[1] < 1:
        return out, 0.0
    values, axes = np.linalg.eigh(data.T @ data)
    order = np.argsort(values)[::-1][:2]
    chosen = axes[:, order]
    signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), range(chosen.shape[1])])
    out[:, : len(order)] = data @ (chosen * np.where(signs == 0, 1, signs))
    total = float(values.clip(0).sum())
    return out, float(values[order].clip(0).sum() / total) if total else 0.0
