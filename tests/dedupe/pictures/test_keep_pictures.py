"""Who is kept among pictures: as over all pairs, whatever was judged before."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedupe.keep_first import keep_first
from tasks.dedupe.pictures.crops import SIDE, WINDOWS
from tasks.dedupe.pictures.judged_pictures import judge_pictures
from tasks.dedupe.pictures.keep_pictures import KEPT, NEW, keep_pictures, steady
from tasks.dedupe.pictures.phash import COLOURS, GREY_BYTES, LEVEL_BYTES, hashes
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

COLOURS_OF = {"none": (128, 128), "red": (90, 220), "green": (90, 60), "half red": (109, 174)}
"""Cb and Cr of the left half; half red is red, darker."""


def picture(step: int, flip: bool, brightness: int = 0, colour: str = "none") -> np.ndarray:
    """The one motif turning into the other, perhaps mirrored: uint8 `[1152]`."""
    share = step / STEPS
    blended = (1 - share) * MOTIFS[0] + share * MOTIFS[1]
    bands = [np.kron(blended * 0.8 + brightness, np.ones((4, 4))).astype(np.uint8)]
    for level in COLOURS_OF[colour]:
        bands.append(np.full((COLOURS, COLOURS), 128, np.uint8))
        bands[-1][:, : COLOURS // 2] = level
    return np.concatenate([(band[:, ::-1] if flip else band).reshape(-1) for band in bands])


PICTURES = st.builds(
    picture,
    st.integers(0, STEPS),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from(list(COLOURS_OF)),
)


def hashed_of(levels: np.ndarray) -> np.ndarray:
    return hashes(levels[:, :GREY_BYTES].reshape(-1, SIDE, SIDE))


def drawn(data, most: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and levels of some pictures."""
    levels = np.stack(data.draw(st.lists(PICTURES, min_size=1, max_size=most)))
    return hashed_of(levels), levels


def judged(hashed, levels, known=None, scores=None, threshold=CORRELATION):
    known = np.full(len(hashed), NEW) if known is None else known
    scores = np.zeros(len(hashed), np.float32) if scores is None else scores
    through, score = keep_pictures(hashed, levels, known, scores, threshold)
    return through.tolist(), score.tolist()


def alike(hashed, levels, one: int, other: int) -> float:
    """The similarity of two pictures, 0 where their hashes are far apart."""
    near = orientations(hashed[one, 0], hashed[other, 0], BITS_APART)
    pair = levels[one], levels[other], hashed[one], hashed[other]
    return float(similarity(*pair, near, scratch())) if near else 0.0


def test_a_chain_of_pictures_marks_no_strangers():
    """Each step resembles the next two: every third is kept, the two after it point to it."""
    levels = np.stack([picture(step, flip=step % 2 == 1) for step in range(6)])
    through, _ = judged(hashed_of(levels), levels)
    assert through == [KEPT, 0, 0, KEPT, 3, 3]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_as_over_all_pairs(data):
    hashed, levels = drawn(data)
    count = len(hashed)
    floor = np.float32(CORRELATION)
    pairs = [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if np.float32(alike(hashed, levels, one, other)) >= floor
    ]
    first, second = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    through = keep_first(count, first, second)
    expected = [KEPT if pair < 0 else int(first[pair]) for pair in through]
    found, score = judged(hashed, levels)
    assert found == expected
    for one, other in enumerate(found):
        assert score[one] == (0 if other == KEPT else alike(hashed, levels, other, one))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_was_judged_before_changes_nothing_but_the_work(tmp_path_factory, data):
    """Pictures come, go, and change places in the order, from build to build."""

    hashed, levels = drawn(data)
    store = Store(str(tmp_path_factory.mktemp("work")))
    everything = list(range(len(hashed)))
    for _ in range(3):
        some = data.draw(st.lists(st.sampled_from(everything), unique=True, min_size=1))
        contents = pl.Series([number.to_bytes(16, "big") for number in some], dtype=pl.Binary)
        verdict = judge_pictures(contents, hashed[some], levels[some], CORRELATION, store)
        expected = judged(hashed[some], levels[some])
        assert (verdict.through.tolist(), verdict.score.tolist()) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0, 4, 2), (4, 2), [KEPT, 0]),  # 2 was marked by 0, which has gone; it resembles 4, too
        ((0, 2, 12), (2, 12, 0), [KEPT, KEPT, 0]),  # 0 comes after 2 by now, which it marked
        ((0, 2, 12), (12, 0, 2), [KEPT, KEPT, 1]),
        ((0, 4, 2), (0, 4, 2, 12), [KEPT, KEPT, 0, KEPT]),
    ],
    ids=["the kept one left", "it has moved behind", "it has moved with it", "one came"],
)
def test_an_earlier_verdict_is_taken_up_where_it_still_holds(tmp_path, before, after, expected):
    """Pictures by step; those up to two steps apart are alike."""
    store = Store(str(tmp_path))
    for steps in (before, after):
        contents = pl.Series([step.to_bytes(16, "big") for step in steps], dtype=pl.Binary)
        levels = np.stack([picture(step, flip=False) for step in steps])
        verdict = judge_pictures(contents, hashed_of(levels), levels, CORRELATION, store)
    assert verdict.through.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_likeness_has_no_direction(data):
    hashed, levels = drawn(data, most=2)
    assert alike(hashed, levels, 0, -1) == alike(hashed, levels, -1, 0)


def test_the_orientations_in_which_hashes_are_near():
    levels = picture(0, False)
    one, other = hashed_of(np.stack([levels, picture(0, True)]))[:, 0]
    assert orientations(one, one, BITS_APART) == PLAIN
    assert orientations(one, other, BITS_APART) == MIRRORED
    assert orientations(one, other, 64) == PLAIN | MIRRORED
    assert orientations(one, hashed_of(picture(STEPS, False)[None])[0, 0], BITS_APART) == 0


def test_a_picture_without_contrast_resembles_nothing_not_even_itself():
    flat = np.full((2, LEVEL_BYTES), 7, np.uint8)
    assert judged(np.zeros((2, WINDOWS), np.uint64), flat) == ([KEPT, KEPT], [0, 0])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("colour", "alike_too"),
    [("red", True), ("half red", True), ("none", True), ("green", False)],
)
def test_pictures_that_both_have_colour_must_agree_in_it(colour, alike_too, flip):
    pair = np.stack([picture(0, False, colour="red"), picture(0, flip, colour=colour)])
    assert judged(hashed_of(pair), pair)[0] == [KEPT, 0 if alike_too else KEPT]


def test_colour_on_the_other_side_is_another_colour():
    """Of mirror images, too: what is compared is mirrored with the grey levels."""
    whole, mirrored = picture(0, False, colour="red"), picture(0, True, colour="red")
    swapped = np.concatenate([whole[:GREY_BYTES], mirrored[GREY_BYTES:]])
    pair = np.stack([whole, swapped])
    assert judged(hashed_of(pair), pair)[0] == [KEPT, KEPT]


def test_one_cell_of_another_colour_is_enough():
    """On a ground of one colour, of which there is more."""
    pair = np.stack([picture(0, False, colour="red")] * 2)
    cells = pair[:, GREY_BYTES:].reshape(2, 2, COLOURS, COLOURS)
    cells[:, 0] = 200
    cells[:, 1] = 128
    assert judged(hashed_of(pair), pair)[0] == [KEPT, 0]
    cells[0, :, 3, 3] = 90, 220
    cells[1, :, 3, 3] = 90, 60
    assert judged(hashed_of(pair), pair)[0] == [KEPT, KEPT]


def test_what_is_washed_out_says_nothing_of_colour():
    """A lightened copy: the left half is white by now, where the picture is red."""
    pair = np.stack([picture(0, False, colour="red")] * 2)
    pair[:, :GREY_BYTES].reshape(2, SIDE, SIDE)[:, :, :16] = 255
    cells = pair[:, GREY_BYTES:].reshape(2, 2, COLOURS, COLOURS)
    cells[1, 1, :, :4] = 60
    assert judged(hashed_of(pair), pair)[0] == [KEPT, 0]


def test_more_kept_pictures_than_are_compared_at_once():
    """The one that a picture resembles may be any of them."""
    rng = np.random.default_rng(5)
    levels = rng.integers(0, 256, (1_300, LEVEL_BYTES), np.uint8)
    levels = np.concatenate([levels, levels[[0, 511, 512, 1_299]]])
    through, _ = judged(hashed_of(levels), levels)
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
    levels = np.stack([picture(step, flip=False) for step in (0, 2, 4)])
    hashed = hashed_of(levels)
    through, scores = judged(hashed[1:], levels[1:])
    assert through == [KEPT, 0]
    known = np.array([NEW, KEPT, 1])
    assert judged(hashed, levels, known, np.array([0, *scores], np.float32))[0] == [KEPT, 0, KEPT]
