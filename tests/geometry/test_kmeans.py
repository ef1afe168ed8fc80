"""Spherical k-means: topics are found, the same rows give the same centroids, odd ones none."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tasks.geometry.kmeans import kmeans, nearest, seeds
from tasks.geometry.unit import unit_vectors

TOPICS, DIMENSIONS = 12, 32


def planted(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around a few directions, some of which have few; and the topic of each."""
    draw = np.random.default_rng(seed)
    topics = np.linalg.qr(draw.normal(size=(DIMENSIONS, DIMENSIONS)))[0][:TOPICS]
    shares = np.arange(TOPICS, 0, -1) / np.arange(1, TOPICS + 1).sum()
    own = draw.choice(TOPICS, rows, p=shares)
    return unit_vectors(topics[own] + 0.08 * draw.normal(size=(rows, DIMENSIONS))), own


def test_planted_topics_are_found_the_largest_first():
    unit, own = planted(3_000)
    found = kmeans(unit, TOPICS)
    assert found.shape == (TOPICS, DIMENSIONS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    numbers, cosines = nearest(unit, found)
    assert len(set(zip(numbers.tolist(), own.tolist(), strict=True))) == TOPICS
    assert (np.diff(np.bincount(numbers)) <= 0).all()
    assert cosines.min() > 0.7


def test_the_same_rows_give_the_same_centroids_in_another_process():
    unit, _ = planted(500)
    told = (
        "import sys; sys.path[:0] = ['tests/geometry']; import test_kmeans as t; "
        "print(t.kmeans(t.planted(500)[0], 7).tobytes().hex())"
    )
    found = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert found.stdout.strip() == kmeans(unit, 7).tobytes().hex()


def test_copies_are_one_centroid():
    same = np.tile(np.eye(2, 4, dtype=np.float32), (20, 1))
    assert len(kmeans(same, 5)) == 2
    assert len(kmeans(same[:1], 5)) == 1


def test_no_rows_no_centroids():
    assert kmeans(np.empty((0, 4), np.float32), 3).shape == (0, 4)


def test_fewer_rows_than_clusters_are_a_cluster_each():
    assert len(kmeans(np.eye(3, 8, dtype=np.float32), 10)) == 3


def test_it_begins_where_it_is_told_to():
    unit, _ = planted(1_000)
    start = seeds(unit, TOPICS, np.random.default_rng(5))
    assert np.array_equal(kmeans(unit, TOPICS, start=start), kmeans(unit, TOPICS, start=start))
    few = kmeans(unit, TOPICS, start=start, rounds=1)
    assert not np.array_equal(few, kmeans(unit, TOPICS, start=start, rounds=5))


def test_seeds_lie_in_every_topic():
    """Drawn evenly, half of twelve seeds would lie in the four largest topics."""
    unit, own = planted(2_000)
    found = seeds(unit, TOPICS, np.random.default_rng(0))
    assert len(set(own[nearest(found, unit)[0]])) >= TOPICS - 2


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_unit_vectors_are_those_of_float16(kind):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(50, 16)).astype(np.float16).astype(kind)
    jittered = vectors * kind(1 if kind == np.float16 else 1.00001)
    assert np.array_equal(unit_vectors(jittered), unit_vectors(vectors))
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(vectors), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("odd", [0, np.nan, np.inf, 1e30], ids=["zero", "nan", "inf", "large"])
def test_what_has_no_direction_is_zero(odd):
    assert not unit_vectors(np.full((1, 4), odd, np.float32)).any()
