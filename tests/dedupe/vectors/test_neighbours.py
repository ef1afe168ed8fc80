"""Which rows are neighbours: a function of two vectors, the cells and the threshold alone."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.dedupe.vectors import neighbours
from tasks.dedupe.vectors.neighbours import Neighbourhood, as_unit
from tasks.dedupe.vectors.sketch import most_apart

WIDTH = 24


def near_vectors(rows: int, seed: int = 0) -> np.ndarray:
    """Rows around a third as many directions: about one pair in a hundred above 0.9."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(max(rows // 3, 1), WIDTH))
    noise = draw.normal(size=(rows, WIDTH)) * 0.2
    return (centres[draw.integers(0, len(centres), rows)] + noise).astype(np.float32)


def cells_of(vectors: np.ndarray, count: int) -> np.ndarray:
    return as_unit(vectors[:count].copy())


def neighbourhood(vectors: np.ndarray, cells: np.ndarray, threshold: float = 0.9, **given):
    groups = given.pop("groups", np.zeros(len(vectors), np.int64))
    return Neighbourhood(lambda rows: vectors[rows], groups, cells, WIDTH, threshold, **given)


def all_pairs(near: Neighbourhood) -> set[tuple[int, int]]:
    rows = np.arange(len(near))
    found = near.pairs(rows, np.ones(len(rows), bool), 1 << 30)
    assert found is not None
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_without_cells_all_pairs_are_found() -> None:
    vectors = near_vectors(200)
    unit = as_unit(vectors).astype(np.float64)
    exact = np.round(unit @ unit.T, 6) >= 0.9
    np.fill_diagonal(exact, False)
    expected = set(zip(*(side.tolist() for side in np.nonzero(exact)), strict=True))
    assert len(expected) > 200
    assert all_pairs(neighbourhood(vectors, np.empty((0, WIDTH), np.float32))) == expected


def test_what_is_multiplied_together_does_not_matter(monkeypatch) -> None:
    """The same pairs and scores in another order, in small blocks, and among other rows."""
    vectors = near_vectors(300)
    cells = cells_of(vectors, 12)
    whole = neighbourhood(vectors, cells)
    pairs = all_pairs(whole)
    order = np.random.default_rng(1).permutation(300)[:220]
    monkeypatch.setattr(neighbours, "PRODUCT", 64)
    monkeypatch.setattr(neighbours, "WINDOW_BYTES", 1_000)
    some = neighbourhood(vectors[order], cells)
    found = {(int(order[a]), int(order[b])) for a, b in all_pairs(some)}
    there = set(order.tolist())
    assert found == {(a, b) for a, b in pairs if a in there and b in there}
    assert (some.traits.cells == whole.traits.cells[order]).all()
    assert (some.traits.sketches == whole.traits.sketches[order]).all()
    place = {row: i for i, row in enumerate(order.tolist())}
    for a, b in sorted(found)[:50]:
        score = whole.scores(np.array([a]), np.array([b]))
        assert score == whole.scores(np.array([b]), np.array([a]))
        assert score == some.scores(np.array([place[a]]), np.array([place[b]]))


def test_float16_and_float32_vectors_are_the_same_here() -> None:
    vectors = near_vectors(50)
    assert (as_unit(vectors) == as_unit(vectors.astype(np.float16).astype(np.float32))).all()


def test_rows_whose_traits_are_known_need_no_vectors() -> None:
    vectors = near_vectors(100)
    cells = cells_of(vectors, 8)
    known = neighbourhood(vectors, cells).traits
    read: list[int] = []

    def load(rows: np.ndarray) -> np.ndarray:
        read.extend(rows.tolist())
        return vectors[rows]

    near = Neighbourhood(load, np.zeros(100, np.int64), cells, WIDTH, 0.9, known)
    assert read == []
    near.pairs(np.array([5]), np.ones(100, bool), 1 << 30)
    shares = np.isin(known.cells, known.cells[5][known.cells[5] >= 0]).any(axis=1)
    apart = np.bitwise_count(known.sketches ^ known.sketches[5]).sum(axis=1)
    candidates = shares & (apart <= most_apart(0.9, WIDTH))
    assert sorted(read) == np.flatnonzero(candidates).tolist()
    assert 1 < len(read) < shares.sum()


def test_what_a_sketch_misses_is_missed_by_all(monkeypatch) -> None:
    """Among fewer rows, with traits that are known or not, the same pairs are not found."""
    vectors = near_vectors(300)
    cells = cells_of(vectors, 12)
    complete = all_pairs(neighbourhood(vectors, cells))
    monkeypatch.setattr(neighbours, "most_apart", lambda *_: 30)
    whole = neighbourhood(vectors, cells)
    pairs = all_pairs(whole)
    assert 0 < len(pairs) < len(complete)
    assert all_pairs(neighbourhood(vectors, cells, known=whole.traits)) == pairs
    assert all_pairs(neighbourhood(vectors[100:], cells)) == {
        (a - 100, b - 100) for a, b in pairs if a >= 100 and b >= 100
    }


def test_rows_of_other_groups_are_no_neighbours() -> None:
    vectors = np.repeat(near_vectors(1), 4, axis=0)
    groups = np.array([0, 0, 1, 1])
    near = neighbourhood(vectors, np.empty((0, WIDTH), np.float32), groups=groups)
    assert all_pairs(near) == {(0, 1), (1, 0), (2, 3), (3, 2)}


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e30], ids=str)
def test_a_vector_without_direction_has_no_neighbour(value: float) -> None:
    vectors = np.full((3, WIDTH), value, np.float32)
    assert all_pairs(neighbourhood(vectors, np.empty((0, WIDTH), np.float32))) == set()


def test_more_pairs_than_may_be_held_are_none() -> None:
    vectors = np.repeat(near_vectors(1), 10, axis=0)
    near = neighbourhood(vectors, np.empty((0, WIDTH), np.float32))
    assert near.pairs(np.arange(10), np.ones(10, bool), 89) is None
    found = near.pairs(np.arange(10), np.ones(10, bool), 90)
    assert found is not None
    assert len(found) == 90


def test_no_rows_have_no_neighbours() -> None:
    assert all_pairs(neighbourhood(near_vectors(0), cells_of(near_vectors(9), 3))) == set()
