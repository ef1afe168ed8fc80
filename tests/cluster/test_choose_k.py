"""The number of clusters: by silhouette, which is scikit-learn's; and steady."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from tasks.cluster import choose_k as module
from tasks.cluster.choose_k import choose_k, silhouette
from tasks.geometry.kmeans import kmeans
from tasks.geometry.unit import unit_vectors


def planted(topics: int, rows: int, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    places = draw.normal(size=(topics, 48)) / 48**0.5
    return unit_vectors(
        places[draw.integers(0, topics, rows)] + noise * draw.normal(size=(rows, 48))
    )


@pytest.mark.parametrize("clusters", [2, 7, 40])
def test_the_silhouette_is_scikit_learns(clusters):
    unit = planted(7, 400)
    numbers = np.random.default_rng(1).integers(0, clusters, 400)
    numbers[0] = clusters + 3  # alone in its cluster, and numbers that none has
    assert silhouette(unit, numbers) == pytest.approx(
        silhouette_score(unit, numbers, metric="cosine"), abs=1e-5
    )


def test_one_cluster_has_no_silhouette():
    assert silhouette(planted(2, 10), np.zeros(10, np.int64)) == 0


@pytest.mark.parametrize("topics", [2, 5, 17])
def test_well_parted_topics_are_counted(topics):
    assert choose_k(planted(topics, 60 * topics)) == topics


@pytest.mark.parametrize(("rows", "found"), [(1, 1), (3, 1), (4, 2)])
def test_few_rows_have_few_clusters(rows, found):
    assert choose_k(planted(2, rows)) <= found


def test_copies_are_one():
    assert choose_k(np.tile(np.eye(1, 8, dtype=np.float32), (50, 1))) == 1


def test_the_number_of_before_stays_where_it_is_about_as_good(monkeypatch):
    unit = planted(12, 600, noise=0.2)
    assert choose_k(unit, kmeans(unit, 13)) == 12
    monkeypatch.setattr(module, "AS_GOOD", 0.8)
    assert choose_k(unit, kmeans(unit, 13)) == 13
    assert choose_k(unit, kmeans(unit, 30)) == 12
