"""Who is kept among pictures: as over all pairs, whatever was judged before."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedupe.keep_first import keep_first
from tasks.dedupe.pictures.crops import SIDE, WINDOWS
from tasks.dedupe.pictures.judged_pictures import judge_pictures
from tasks.dedupe.pictures.keep_pictures import KEPT, NEW, keep_pictures, steady
from tasks.dedupe.pictures.phash import hashes
from tasks.dedupe.pictures.same_picture import (
    BITS_APART,
    CORRELATION,
    MIRRORED,
    PLAIN,
    orientations,
    scratch,
    similarity,
)
from tasks.store.workdir import Store

MOTIFS = np.random.default_rng(0).integers(0, 256, (2, 8, 8))

STEPS = 12
"""From one motif to the other: pictures one or two steps apart are alike, others are not."""


def picture(step: int, flip: bool, brightness: int = 0) -> np.ndarray:
    """The one motif turning into the other, perhaps mirrored: uint8 `[32, 32]`."""
    share = step / STEPS
    blended = (1 - share) * MOTIFS[0] + share * MOTIFS[1]
    levels = np.kron(blended * 0.8 + brightness, np.ones((4, 4))).astype(np.uint8)
    return levels[:, ::-1] if flip else levels


PICTURES = st.builds(picture, st.integers(0, STEPS), st.booleans(), st.integers(0, 9))


def drawn(data, most: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and grey levels of some pictures."""
    found = data.draw(st.lists(PICTURES, min_size=1, max_size=most))
    greys = np.stack(found)
    return hashes(greys), np.ascontiguousarray(greys.reshape(-1, SIDE * SIDE))


def judged(hashed, greys, known=None, scores=None, threshold=CORRELATION):
    known = np.full(len(hashed), NEW) if known is None else known
    scores = np.zeros(len(hashed), np.float32) if scores is None else scores
    through, score = keep_pictures(hashed, greys, known, scores, threshold)
    return through.tolist(), score.tolist()


def alike(hashed, greys, one: int, other: int) -> float:
    """The similarity of two pictures, 0 where their hashes are far apart."""
    near = orientations(hashed[one, 0], hashed[other, 0], BITS_APART)
    pair = greys[one], greys[other], hashed[one], hashed[other]
    return float(similarity(*pair, near, scratch())) if near else 0.0


def test_a_chain_of_pictures_marks_no_strangers():
    """Each step resembles the next two: every third is kept, the two after it point to it."""
    greys = np.stack([picture(step, flip=step % 2 == 1) for step in range(6)])
    through, _ = judged(hashes(greys), np.ascontiguousarray(greys.reshape(6, -1)))
    assert through == [KEPT, 0, 0, KEPT, 3, 3]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_as_over_all_pairs(data):
    hashed, greys = drawn(data)
    count = len(hashed)
    floor = np.float32(CORRELATION)
    pairs = [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if np.float32(alike(hashed, greys, one, other)) >= floor
    ]
    first, second = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    through = keep_first(count, first, second)
    expected = [KEPT if pair < 0 else int(first[pair]) for pair in through]
    found, score = judged(hashed, greys)
    assert found == expected
    for one, other in enumerate(found):
        assert score[one] == (0 if other == KEPT else alike(hashed, greys, other, one))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_was_judged_before_changes_nothing_but_the_work(tmp_path_factory, data):
    """Pictures come, go, and change places in the order, from build to build."""

    hashed, greys = drawn(data)
    store = Store(str(tmp_path_factory.mktemp("work")))
    everything = list(range(len(hashed)))
    for _ in range(3):
        some = data.draw(st.lists(st.sampled_from(everything), unique=True, min_size=1))
        contents = pl.Series([number.to_bytes(16, "big") for number in some], dtype=pl.Binary)
        verdict = judge_pictures(contents, hashed[some], greys[some], CORRELATION, store)
        expected = judged(hashed[some], greys[some])
        assert (verdict.through.tolist(), verdict.score.tolist()) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_likeness_has_no_direction(data):
    hashed, greys = drawn(data, most=2)
    assert alike(hashed, greys, 0, -1) == alike(hashed, greys, -1, 0)


def test_the_orientations_in_which_hashes_are_near():
    levels = picture(0, False)
    one, other = hashes(np.stack([levels, levels[:, ::-1]]))[:, 0]
    assert orientations(one, one, BITS_APART) == PLAIN
    assert orientations(one, other, BITS_APART) == MIRRORED
    assert orientations(one, other, 64) == PLAIN | MIRRORED
    assert orientations(one, hashes(picture(STEPS, False)[None])[0, 0], BITS_APART) == 0


def test_a_picture_without_contrast_resembles_nothing_not_even_itself():
    flat = np.full((2, SIDE * SIDE), 7, np.uint8)
    assert judged(np.zeros((2, WINDOWS), np.uint64), flat) == ([KEPT, KEPT], [0, 0])


def test_more_kept_pictures_than_are_compared_at_once():
    """The one that a picture resembles may be any of them."""
    rng = np.random.default_rng(5)
    greys = rng.integers(0, 256, (1_300, SIDE, SIDE), np.uint8)
    greys = np.concatenate([greys, greys[[0, 511, 512, 1_299]]])
    through, _ = judged(hashes(greys), np.ascontiguousarray(greys.reshape(len(greys), -1)))
    assert through[:1_300] == [KEPT] * 1_300
    assert through[1_300:] == [0, 511, 512, 1_299]


@given(st.lists(st.integers(-1, 30), max_size=30, unique_by=lambda n: n if n >= 0 else object()))
def test_a_longest_ascending_run_is_steady(ranks):
    stays = steady(np.array(ranks, np.int64)).tolist()
    run = [rank for rank, stay in zip(ranks, stays, strict=True) if stay]
    assert run == sorted(run)
    assert all(rank >= 0 for rank in run)
    longest: list[int] = []
    for at, rank in enumerate(ranks):
        before = [longest[i] for i in range(at) if 0 <= ranks[i] < rank]
        longest.append(1 + max(before, default=0) if rank >= 0 else 0)
    assert len(run) == max(longest, default=0)


def test_who_pointed_to_one_that_is_marked_now_is_judged_anew():
    """Steps 2 and 4 are alike; then step 0 comes, which resembles 2 alone: 4 is kept again."""
    greys = np.stack([picture(step, flip=False) for step in (0, 2, 4)])
    hashed, greys = hashes(greys), np.ascontiguousarray(greys.reshape(3, -1))
    through, scores = judged(hashed[1:], greys[1:])
    assert through == [KEPT, 0]
    known = np.array([NEW, KEPT, 1])
    assert judged(hashed, greys, known, np.array([0, *scores], np.float32))[0] == [KEPT, 0, KEPT]
