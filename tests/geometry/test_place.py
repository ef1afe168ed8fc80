"""Placing: a function of vector and fit, to the last bit, whatever rows are beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.geometry import place as module
from tasks.geometry.fit import AnchorMap, Fit, KindFit, PlaneMap, named
from tasks.geometry.place import Placed, place
from tasks.geometry.unit import unit_vectors

DIMENSIONS = 24
DRAW = np.random.default_rng(3)
POOL = DRAW.normal(size=(300, DIMENSIONS)).astype(np.float32)
POOL[7] = POOL[8]  # a copy
POOL[9] = 0
POOL[10, 3] = np.nan


def anchors(count: int) -> AnchorMap:
    """Anchors at random places; the first ones are rows of the pool."""
    contents = np.array([b"%016d" % n for n in range(count)], "S16")
    return AnchorMap(
        unit_vectors(POOL[100 : 100 + count]),
        DRAW.normal(size=(count, 2)).astype(np.float32),
        contents,
    )


def a_fit(kind_map: PlaneMap | AnchorMap | None = None, k: int = 20) -> KindFit:
    """Twenty centroids of pairs that are all but the same, so that float32 alone cannot decide."""
    half = unit_vectors(DRAW.normal(size=(k // 2, DIMENSIONS)))
    centroids = np.concatenate([half, half + np.float32(6e-8)])
    return KindFit(
        kind="text",
        method="kmeans",
        rows=300,
        centroids=centroids,
        ids=np.arange(k, dtype=np.int32)[::-1].copy(),
        radii=np.full(k, np.inf, np.float32),
        reach=1.0,
        cells=np.empty((0, DIMENSIONS), np.float32),
        map=kind_map,
    )


PLANE = PlaneMap(
    DRAW.normal(size=DIMENSIONS).astype(np.float32),
    DRAW.normal(size=(DIMENSIONS, 2)).astype(np.float32),
)
FITS = {
    "plane": a_fit(PLANE),
    "anchors": a_fit(anchors(80)),
    "few anchors": a_fit(anchors(2)),
    "no map": a_fit(),
}


def raw(placed: Placed) -> list[bytes]:
    return [getattr(placed, name).tobytes() for name in ("cluster", "x", "y", "distance")]


def taken(placed: Placed, rows: list[int]) -> Placed:
    names = ("cluster", "x", "y", "distance")
    return Placed(*(getattr(placed, name)[rows] for name in names))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FITS)),
    rows=st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=70),
    half=st.booleans(),
)
def test_a_row_gets_the_same_whatever_is_beside_it(name, rows, half):
    kind = np.float16 if half else np.float32  # the published ones, and those of the workdir
    assert raw(place(FITS[name], POOL[rows].astype(kind))) == raw(
        taken(place(FITS[name], POOL), rows)
    )


def test_a_batch_ends_nowhere(monkeypatch):
    whole = place(FITS["anchors"], POOL)
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    assert raw(place(FITS["anchors"], POOL)) == raw(whole)


def test_each_row_is_in_the_cluster_of_its_nearest_centroid():
    fit = a_fit(k=20)
    wide = unit_vectors(POOL).astype(np.float64) @ fit.centroids.astype(np.float64).T
    usable = [n for n in range(len(POOL)) if n not in (9, 10)]
    placed = place(fit, POOL)
    assert (placed.cluster[usable] == fit.ids[wide.argmax(axis=1)][usable]).all()
    np.testing.assert_allclose(placed.distance[usable], 1 - wide.max(axis=1)[usable], atol=1e-6)


@pytest.mark.parametrize("name", sorted(FITS))
def test_a_vector_without_direction_has_no_place(name):
    placed = place(FITS[name], POOL)
    assert placed.cluster[[9, 10]].tolist() == [-1, -1]
    assert np.isnan(placed.x[[9, 10]]).all()
    assert np.isnan(placed.y[[9, 10]]).all()
    assert np.isinf(placed.distance[[9, 10]]).all()
    others = [n for n in range(len(POOL)) if n not in (9, 10)]
    assert np.isfinite(placed.x[others]).all() == (name != "no map")


def test_beyond_the_radius_a_row_is_in_no_cluster():
    fit = replace(a_fit(), radii=np.full(20, 0.5, np.float32))
    placed = place(fit, POOL)
    usable = np.isfinite(placed.distance)
    assert ((placed.cluster >= 0) == (placed.distance <= 0.5))[usable].all()
    assert 0 < (placed.cluster[usable] == -1).mean() < 1


def test_without_centroids_there_is_no_cluster():
    fit = replace(FITS["plane"], centroids=np.empty((0, DIMENSIONS), np.float32))
    placed = place(fit, POOL)
    assert (placed.cluster == -1).all()
    assert np.isinf(placed.distance).all()
    assert np.isfinite(placed.x[0])


def test_an_anchor_lies_where_it_lies_and_what_is_near_lies_near():
    fit = FITS["anchors"]
    assert isinstance(fit.map, AnchorMap)
    on = place(fit, POOL[100:180])
    np.testing.assert_allclose(np.stack([on.x, on.y], axis=1), fit.map.places, atol=1e-4)
    near = place(fit, POOL[100:180] + np.float32(0.004))
    assert np.hypot(near.x - on.x, near.y - on.y).max() < 0.1


def test_a_place_changes_smoothly_from_one_anchor_to_the_next():
    """However the nearest ones change on the way, no step is a jump."""
    ways = np.linspace(0, 1, 4_000)[:, None] * (POOL[121] - POOL[120]) + POOL[120]
    placed = module.map_places(FITS["anchors"].map, _unit(ways))
    steps = np.linalg.norm(np.diff(placed, axis=0), axis=1)
    assert steps.max() < 0.05 * np.linalg.norm(np.ptp(placed, axis=0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Not by float16, which steps by itself."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_map_without_anchors_places_nothing():
    """All of them may have been forgotten."""
    assert np.isnan(place(a_fit(anchors(0)), POOL[:3]).x).all()


def test_a_fit_is_named_by_all_that_is_in_it():
    one = FITS["anchors"]
    name = named({"text": one}).fit_id
    assert name == named({"text": replace(one)}).fit_id
    assert name.startswith("fit-")
    assert len(name) == 16
    others = [
        replace(one, map=None),
        replace(one, ids=one.ids[::-1].copy()),
        replace(one, reach=0.5),
        replace(one, cells=one.centroids),
        replace(one, centroids=one.centroids + np.float32(1e-3)),
        replace(one, kind="image"),
    ]
    names = {named({each.kind: each}).fit_id for each in others}
    assert len(names | {name}) == len(others) + 1
    both = {"image": others[-1], "text": one}
    assert named(both) == Fit(named(dict(reversed(both.items()))).fit_id, both)
