"""A refit keeps the ids of what stays, gives new ones to what is new, and says what moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schemas.spec import ClusterSpec
from tasks.cluster.make_fit import Sample, make_fit
from tasks.cluster.match_fits import match
from tasks.cluster.refit import refit
from tasks.geometry.fit import AnchorMap, KindFit, named
from tasks.geometry.place import place

DIMENSIONS = 32
TOPICS = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSIONS, DIMENSIONS)))[0]


def rows_of(topics: list[int], each: int = 60, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    own = np.repeat(topics, each)
    return (TOPICS[own] + 0.08 * draw.normal(size=(len(own), DIMENSIONS))).astype(np.float32)


def sample(vectors: np.ndarray) -> Sample:
    contents = np.array([b"%016d" % n for n in range(len(vectors))], "S16")
    return Sample(vectors, contents, len(vectors))


def bare(centroids: list[int], ids: list[int]) -> KindFit:
    """A fit whose centroids are topics."""
    return KindFit(
        kind="text",
        method="kmeans",
        rows=1,
        centroids=TOPICS[centroids].astype(np.float32),
        ids=np.array(ids, np.int32),
        radii=np.full(len(ids), np.inf, np.float32),
        reach=1.0,
        cells=np.empty((0, DIMENSIONS), np.float32),
    )


def test_ids_follow_the_rows_not_the_order():
    old, new = bare([0, 1, 2], [0, 1, 2]), bare([2, 0, 1], [0, 1, 2])
    found, moved = match(old, new, rows_of([0, 1, 2]))
    assert found.ids.tolist() == [2, 0, 1]
    assert (moved.moved, moved.kept, moved.gone, moved.made) == (0, (0, 1, 2), (), ())
    assert moved.kept_share == 1


def test_a_topic_that_came_gets_an_id_that_none_had_and_one_that_left_takes_its_own_along():
    old = bare([0, 1, 2, 5, 6, 8, 9, 10], [0, 7, 3, 1, 2, 4, 5, 6])
    new = bare([1, 2, 4], [0, 1, 2])
    vectors = rows_of([1, 2, 4])
    found, moved = match(old, new, vectors)
    assert found.ids[:2].tolist() == [7, 3]
    assert found.ids[2] == 8
    assert (moved.kept, moved.gone, moved.made) == ((3, 7), (0, 1, 2, 4, 5, 6), (8,))
    assert moved.moved == 60  # the third topic had been shared out among the others
    assert match(old, new, vectors, first_free=50)[0].ids[2] == 50


def test_of_a_cluster_that_split_the_larger_part_keeps_the_id():
    old, new = bare([0], [5]), bare([0, 1], [0, 1])
    vectors = np.concatenate([rows_of([0], 40), rows_of([1], 60)])
    found, moved = match(old, new, vectors)
    assert found.ids.tolist() == [6, 5]
    assert moved.moved == 40


def test_rows_in_no_cluster_bind_nothing():
    old = bare([0, 1], [0, 1])
    new = replace(bare([1, 0], [0, 1]), radii=np.array([0.0, np.inf], np.float32))
    found, moved = match(old, new, rows_of([0, 1]))
    assert found.ids.tolist() == [2, 0]  # nothing lies in the first
    assert moved.moved == 60


@pytest.mark.parametrize("spec", [ClusterSpec(), ClusterSpec(k=4)], ids=["auto", "4"])
def test_after_a_small_change_ids_and_places_stay(spec):
    before = rows_of([0, 0, 0, 1, 1, 2, 3, 4])
    after = np.concatenate([before[6:], rows_of([0, 6], 3, seed=1)])
    old = make_fit({"text": sample(before)}, spec, semantic=True)
    new, [moved] = refit(old, {"text": sample(after)}, spec, semantic=True)
    assert new.fit_id != old.fit_id
    assert moved.kept_share > 0.95
    assert moved.rows == len(after)
    was, now = place(old.kinds["text"], after), place(new.kinds["text"], after)
    assert (was.cluster == now.cluster).mean() == pytest.approx(moved.kept_share)
    step = np.hypot(was.x - now.x, was.y - now.y).mean()
    assert step < 0.1 * np.hypot(was.x.std(), was.y.std())
    assert len(new.kinds["text"].cells) > 0


def test_a_new_topic_is_found():
    spec = ClusterSpec()
    old = make_fit({"text": sample(rows_of([0, 1, 2, 3]))}, spec, semantic=False)
    after = rows_of([0, 1, 2, 3, 4, 5], seed=2)
    new, [moved] = refit(old, {"text": sample(after)}, spec, semantic=False)
    assert moved.kept == (0, 1, 2, 3)
    assert moved.made == (4, 5)
    clusters = place(new.kinds["text"], after).cluster.reshape(6, 60)
    assert all(len(set(row.tolist())) == 1 for row in clusters)


@pytest.mark.slow
def test_umap_begins_where_the_old_map_lies():
    spec = ClusterSpec(k=4, map="umap")
    before = rows_of([0, 1, 2, 3], 50)
    after = np.concatenate([before, rows_of([0, 1], 2, seed=3)])
    old = make_fit({"text": sample(before)}, spec, semantic=False)
    new, _ = refit(old, {"text": sample(after)}, spec, semantic=False)
    was, now = place(old.kinds["text"], before), place(new.kinds["text"], before)
    spread = np.hypot(was.x.std(), was.y.std())
    assert np.median(np.hypot(was.x - now.x, was.y - now.y)) < 0.5 * spread


def test_what_the_spec_turned_off_leaves_and_a_new_kind_comes():
    old = make_fit({"text": sample(rows_of([0, 1]))}, ClusterSpec(), semantic=True)
    samples = {"text": sample(rows_of([0, 1])), "image": sample(rows_of([2, 3]))}
    new, moves = refit(old, samples, ClusterSpec(map=None), semantic=False)
    assert [moved.kind for moved in moves] == ["text"]
    assert sorted(new.kinds) == ["image", "text"]
    assert new.kinds["text"].map is None
    assert len(new.kinds["text"].cells) == 0
    assert refit(old, samples, None, semantic=True)[1] == []


@pytest.mark.parametrize("after", ["pca", pytest.param("umap", marks=pytest.mark.slow)])
def test_a_map_in_one_place_or_without_anchors_leads_nowhere(after):
    copies = np.ones((15, 8), np.float32)  # too few for UMAP, which is slow to load
    old = make_fit({"text": sample(copies)}, ClusterSpec(map="umap"), semantic=False)
    fit = old.kinds["text"]
    assert isinstance(fit.map, AnchorMap)
    forgotten = AnchorMap(fit.map.vectors[:0], fit.map.places[:0], fit.map.contents[:0])
    for before in (fit, replace(fit, map=forgotten)):
        new, _ = refit(
            named({"text": before}),
            {"text": sample(rows_of([0, 1])[:, :8])},
            ClusterSpec(map=after),
            semantic=False,
        )
        assert np.isfinite(place(new.kinds["text"], copies).x).all()
