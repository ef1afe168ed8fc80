"""Sketches tell the angle between two vectors, and lose next to no pair that is near enough."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tasks.dedupe.vectors.sketch import BITS, GRID, directions, most_apart, sketches_of


def sketch(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return sketches_of(np.rint(unit * GRID).astype(np.float32) @ directions(vectors.shape[1]))


def pairs_at(cosine: float, dimensions: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(dimensions)
    first, other = draw.normal(size=(2, count, dimensions))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    other -= (first * other).sum(axis=1, keepdims=True) * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return first, cosine * first + np.sqrt(1 - cosine**2) * other


@pytest.mark.parametrize("dimensions", [2, 24, 384, 1_024])
@pytest.mark.parametrize("cosine", [0.8, 0.9, 0.95, 0.9999])
def test_pairs_at_the_threshold_are_let_pass(cosine: float, dimensions: int) -> None:
    first, second = pairs_at(cosine, dimensions, 2_000)
    apart = np.bitwise_count(sketch(first) ^ sketch(second)).sum(axis=1)
    assert apart.max() <= most_apart(cosine, dimensions)
    expected = BITS * np.arccos(cosine) / np.pi
    assert apart.mean() == pytest.approx(expected, rel=0.05, abs=0.6)


def test_strangers_are_not_let_pass() -> None:
    first, second = pairs_at(0.5, 384, 2_000)
    apart = np.bitwise_count(sketch(first) ^ sketch(second)).sum(axis=1)
    assert apart.min() > most_apart(0.95, 384)


def test_as_many_bits_as_the_threshold_asks_for() -> None:
    """The mean and more than five standard deviations; all of them where any pair will do."""
    assert [most_apart(at, 384) for at in (1.0, 0.95, 0.9, 0.7)] == [6, 54, 69, 103]
    assert most_apart(-1.0, 384) == BITS


def test_the_directions_are_always_the_same_ones() -> None:
    """What a workdir holds was made with them: others need another METHOD."""
    digest = hashlib.blake2b(directions(24).tobytes(), digest_size=8).hexdigest()
    assert digest == "1ad432a10244ebcb"
