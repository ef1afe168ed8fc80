"""Fits: what is made for which spec, what stands when one is extended, and the same each time."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import MissingExtraError
from schemas.spec import ClusterSpec
from tasks.cluster.make_fit import Sample, extend, lacks, make_fit, sample_rows
from tasks.geometry.fit import AnchorMap, KindFit, PlaneMap
from tasks.geometry.place import place

TOPICS, DIMENSIONS = 6, 32


def sample(rows: int, seed: int = 0) -> tuple[Sample, np.ndarray]:
    """Rows around six directions, and the direction of each."""
    topics = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    draw = np.random.default_rng(seed)
    own = draw.integers(0, TOPICS, rows)
    vectors = 3 * topics[own] + 0.25 * draw.normal(size=(rows, DIMENSIONS))
    contents = np.array([b"%08d%08d" % (seed, n) for n in range(rows)], "S16")
    return Sample(vectors.astype(np.float32), contents, rows), own


def text_fit(spec: ClusterSpec | None, rows: int = 600, *, semantic: bool = False) -> KindFit:
    return make_fit({"text": sample(rows)[0]}, spec, semantic=semantic).kinds["text"]


@pytest.mark.parametrize(
    "spec",
    [ClusterSpec(), ClusterSpec(k=6), ClusterSpec(method="hdbscan")],
    ids=lambda s: f"{s.method} {s.k}",
)
def test_planted_topics_are_the_clusters(spec):
    made, own = sample(600)
    fit = text_fit(spec)
    assert fit.ids.tolist() == list(range(TOPICS))
    assert isinstance(fit.map, PlaneMap)
    placed = place(fit, made.vectors)
    inside = placed.cluster >= 0
    pairs = set(zip(placed.cluster[inside].tolist(), own[inside].tolist(), strict=True))
    assert len(pairs) == TOPICS
    assert inside.mean() == 1 if spec.method == "kmeans" else 0.85 < inside.mean() < 1
    sizes = np.bincount(placed.cluster[inside])
    assert spec.method == "hdbscan" or (np.diff(sizes) <= 0).all()
    assert np.quantile(placed.distance, 0.99) == pytest.approx(fit.reach, abs=1e-5)


def test_the_same_sample_gives_the_same_fit_and_name():
    made = {kind: sample(300, seed)[0] for seed, kind in enumerate(("image", "text"))}
    one = make_fit(made, ClusterSpec(), semantic=True)
    other = make_fit(dict(reversed(made.items())), ClusterSpec(), semantic=True)
    assert one.fit_id == other.fit_id
    rounded = {
        kind: replace(each, vectors=each.vectors.astype(np.float16)) for kind, each in made.items()
    }
    assert make_fit(rounded, ClusterSpec(), semantic=True).fit_id == one.fit_id
    assert make_fit(made, ClusterSpec(k=4), semantic=True).fit_id != one.fit_id


@pytest.mark.parametrize("rows", [1, 2, 3, 9, 30])
@pytest.mark.parametrize("spec", [ClusterSpec(), ClusterSpec(k=5), ClusterSpec(method="hdbscan")])
def test_a_handful_of_rows_has_a_fit(rows, spec):
    made = make_fit({"text": sample(rows)[0]}, spec, semantic=True)
    fit = made.kinds["text"]
    assert 1 <= len(fit.centroids) <= rows
    assert len(fit.cells) >= 1
    assert not lacks(
        make_fit({"text": sample(rows)[0]}, spec, semantic=True), "text", spec, semantic=True
    )
    placed = place(fit, sample(rows)[0].vectors)
    assert np.isfinite(placed.x).all()
    assert np.isfinite(placed.y).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dimensions", [1, 8])
@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_copies_alone_are_one_cluster(method, dimensions):
    made = Sample(np.ones((40, dimensions), np.float32), sample(40)[0].contents, 40)
    fit = make_fit({"text": made}, ClusterSpec(method=method), semantic=True).kinds["text"]
    assert len(fit.centroids) == 1
    assert np.ptp(place(fit, made.vectors).x) == 0


def test_without_clusters_there_are_cells_alone():
    fit = text_fit(None, semantic=True)
    assert (len(fit.centroids), fit.map) == (0, None)
    assert len(fit.cells) == 24  # the root of 600
    assert len(text_fit(None, 100, semantic=True).cells) == 8  # a dozen rows in each


def test_cells_follow_the_rows_there_are_not_those_sampled():
    made = replace(sample(3_000)[0], rows=10_000)
    fit = make_fit({"text": made}, None, semantic=True)
    assert len(fit.kinds["text"].cells) == 100


def test_cells_that_rows_have_outgrown_are_made_again():
    """A space may begin with a handful of rows: one cell would mean each against every other."""
    spec = ClusterSpec(k=3)
    small = make_fit({"text": sample(30)[0]}, spec, semantic=True)
    many = replace(sample(3_000)[0], rows=20_000)
    assert not lacks(small, "text", spec, semantic=True, rows=5_000)
    assert lacks(small, "text", spec, semantic=True, rows=20_000)
    assert not lacks(small, "text", spec, semantic=False, rows=20_000)
    large = extend(small, {"text": many}, spec, semantic=True)
    was, now = small.kinds["text"], large.kinds["text"]
    assert (len(was.cells), len(now.cells)) == (2, 141)
    assert large.fit_id != small.fit_id
    assert now.centroids is was.centroids
    assert now.map is was.map
    assert not lacks(large, "text", spec, semantic=True, rows=200_000)
    assert extend(large, {"text": many}, spec, semantic=True) is large


def test_copies_that_allow_no_more_cells_leave_the_fit_as_it_is():
    few = replace(sample(30)[0], rows=20_000)
    made = make_fit({"text": few}, None, semantic=True)
    assert extend(made, {"text": few}, None, semantic=True) is made


def test_what_stands_is_kept_and_what_lacks_is_added():
    text, image = sample(300)[0], sample(200, 1)[0]
    spec = ClusterSpec()
    first = make_fit({"text": text}, spec, semantic=False)
    assert not lacks(first, "text", spec, semantic=False)
    assert not lacks(first, "text", None, semantic=False)
    assert lacks(first, "text", spec, semantic=True)
    assert lacks(first, "image", spec, semantic=False)
    assert lacks(None, "image", None, semantic=True)
    assert not lacks(None, "image", None, semantic=False)
    other = {"text": sample(300, 5)[0], "image": image}
    second = extend(first, other, spec, semantic=True)
    stood, now = first.kinds["text"], second.kinds["text"]
    assert now.centroids is stood.centroids
    assert now.map is stood.map
    assert (now.reach, now.rows) == (stood.reach, stood.rows)
    assert len(now.cells) > 0
    assert sorted(second.kinds) == ["image", "text"]
    assert second.fit_id != first.fit_id
    assert extend(second, other, spec, semantic=True).fit_id == second.fit_id


def test_a_sample_without_direction_adds_nothing():
    odd = np.zeros((3, 4), np.float32)
    odd[1] = np.nan
    none = Sample(odd, np.array([b"a", b"b", b"c"], "S16"), 3)
    assert make_fit({"text": none}, ClusterSpec(), semantic=True).kinds == {}


def test_a_sample_is_bounded_by_rows_and_bytes():
    assert sample_rows(384) == 50_000
    assert sample_rows(1_536) * 1_536 * 4 <= 128 << 20


@pytest.mark.parametrize("rows", [1, 5, 15])
def test_too_few_rows_for_umap_lie_as_pca_puts_them(rows):
    made = sample(rows)[0]
    fits = [
        make_fit({"text": made}, ClusterSpec(map=own), semantic=False).kinds["text"]
        for own in ("umap", "pca")
    ]
    one, other = (place(fit, made.vectors) for fit in fits)
    assert isinstance(fits[0].map, AnchorMap)
    np.testing.assert_allclose([one.x, one.y], [other.x, other.y], atol=1e-4)


@pytest.mark.slow
def test_umap_keeps_topics_together_and_places_others_among_them():
    made, own = sample(400)
    one = make_fit({"text": made}, ClusterSpec(map="umap"), semantic=False)
    fit = one.kinds["text"]
    assert isinstance(fit.map, AnchorMap)
    assert fit.map.contents.tolist() == made.contents.tolist()
    assert make_fit({"text": made}, ClusterSpec(map="umap"), semantic=False).fit_id == one.fit_id
    others, theirs = sample(100, 9)
    at = np.stack([place(fit, made.vectors).x, place(fit, made.vectors).y], axis=1)
    np.testing.assert_allclose(at, fit.map.places, atol=1e-3)
    middles = np.stack([at[own == topic].mean(axis=0) for topic in range(TOPICS)])
    there = np.stack([place(fit, others.vectors).x, place(fit, others.vectors).y], axis=1)
    away = np.linalg.norm(there[:, None] - middles, axis=2)
    assert (away.argmin(axis=1) == theirs).mean() > 0.98


def test_without_umap_the_install_line_is_told(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name == "umap":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        MissingExtraError, match=r"pip install 'vecmill\[umap\]', or write map: pca"
    ):
        make_fit({"text": sample(50)[0]}, ClusterSpec(map="umap"), semantic=False)
