"""Judging in blocks and judging what is new give what `keep_first` gives of all pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedupe.keep_first import keep_first
from tasks.dedupe.vectors import judge
from tasks.dedupe.vectors.judge import judge_all, judge_more
from tasks.dedupe.vectors.judgement import KEPT, Judgement
from tasks.dedupe.vectors.neighbours import Neighbourhood, as_unit

WIDTH = 6
THRESHOLD = 0.9

STATE = st.tuples(
    st.integers(0, 10**6),  # the seed
    st.integers(1, 50),  # rows
    st.integers(0, 4),  # cells
    st.integers(1, 20),  # rows of a block
    st.sampled_from([3, 1 << 20]),  # pairs held at a time
)


def neighbourhood(vectors: np.ndarray, cells: np.ndarray) -> Neighbourhood:
    groups = np.zeros(len(vectors), np.int64)
    return Neighbourhood(lambda rows: vectors[rows], groups, cells, WIDTH, THRESHOLD)


def made(seed: int, rows: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(4, WIDTH))
    vectors = centres[draw.integers(0, 4, rows)] + draw.normal(size=(rows, WIDTH)) * 0.3
    return vectors.astype(np.float32), as_unit(draw.normal(size=(cells, WIDTH)).astype(np.float32))


@settings(deadline=None, max_examples=150)
@given(STATE, st.data())
def test_all_ways_give_the_same(state, data) -> None:
    seed, rows, count, block, most = state
    vectors, cells = made(seed, rows, count)
    near = neighbourhood(vectors, cells)
    every = near.pairs(np.arange(rows), np.ones(rows, bool), 1 << 30)
    assert every is not None
    once = every.first < every.second
    first, second = every.first[once], every.second[once]
    through = keep_first(rows, first, second)
    expected = np.array([KEPT if pair < 0 else first[pair] for pair in through])
    old = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 1)))), np.int64)
    gone = set(data.draw(st.sets(st.sampled_from([-1, *old])))) - {-1}
    held = (judge.BLOCK_ROWS, judge.MOST_PAIRS, judge.FEW)
    try:
        judge.BLOCK_ROWS, judge.MOST_PAIRS, judge.FEW = block, most, 1.0
        whole = judge_all(near)
        assert (whole.through == expected).all()
        now = np.array(sorted(set(range(rows)) - gone), np.int64)
        known = carried(judge_all(neighbourhood(vectors[old], cells)), old, now)
        left = neighbourhood(vectors[now], cells)
        more, again = judge_more(left, known), judge_all(left)
    finally:
        judge.BLOCK_ROWS, judge.MOST_PAIRS, judge.FEW = held
    assert (more.through == again.through).all()
    assert (more.score == again.score).all()
    marked = again.through >= 0
    assert (again.through[again.through[marked]] == KEPT).all()  # no chains
    assert (again.score[marked] >= np.float32(THRESHOLD)).all()


def carried(judged: Judgement, old: np.ndarray, now: np.ndarray) -> Judgement:
    """What was judged of the rows `old`, as far as it holds among the rows `now`."""
    place = {row: i for i, row in enumerate(now.tolist())}
    known = Judgement.unknown(len(now))
    for i, row in enumerate(old.tolist()):
        through = int(judged.through[i])
        if row in place and (through == KEPT or int(old[through]) in place):
            known.through[place[row]] = KEPT if through == KEPT else place[int(old[through])]
            known.score[place[row]] = judged.score[i]
    return known


def test_a_family_makes_few_pairs(monkeypatch) -> None:
    """3,000 rows that are all alike would make 4.5 million pairs: not all of them are held."""
    held: list[int] = []
    pairs = Neighbourhood.pairs

    def counted(self, rows, among, most):
        found = pairs(self, rows, among, most)
        held.append(0 if found is None else len(found))
        return found

    monkeypatch.setattr(Neighbourhood, "pairs", counted)
    monkeypatch.setattr(judge, "MOST_PAIRS", 100_000)
    vectors = np.ones((3_000, WIDTH), np.float32)
    judged = judge_all(neighbourhood(vectors, np.empty((0, WIDTH), np.float32)))
    assert judged.through.tolist() == [KEPT] + [0] * 2_999
    assert max(held) <= 100_000
    assert sum(held) < 200_000
