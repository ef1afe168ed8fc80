"""The made documents: what is said to be true of them is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from planted_text import Planted, among_all, by_definition, jaccard, plant, score, shingles
from text_edits import EDITS


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(400, seed=3)


def test_documents_of_different_families_have_next_to_nothing_in_common(planted: Planted) -> None:
    """The truth by definition compares within families alone: nothing may be beyond them."""
    of = [shingles(text) for text in planted.texts]
    others = (
        jaccard(of[a], of[b])
        for a, b in combinations(range(len(of)), 2)
        if planted.family[a] != planted.family[b]
    )
    assert max(others) < 0.35


def test_the_same_seed_makes_the_same_documents_and_originals_come_first(planted: Planted) -> None:
    again = plant(400, seed=3)
    assert again.texts == planted.texts
    assert plant(400, seed=4).texts != planted.texts
    assert (planted.original <= np.arange(400)).all()
    assert len(set(planted.family[planted.original].tolist())) > 100
    assert len({edit.__name__ for edit in EDITS}) == 12


def test_truth_by_definition_does_not_chain() -> None:
    """The third is like the second, but not like the first, which the second points to."""
    one, two, three = "abcdefghijkl", "abcdefghijklmn", "abcdefghijklmnop"
    texts = Planted([one, two, three, two], np.zeros(4, np.int64), np.arange(4), [""] * 4)
    assert jaccard(shingles(one), shingles(two)) == 8 / 10
    assert by_definition(texts, 0.8).tolist() == [0, 0, 2, 0]
    assert by_definition(texts, 0.6).tolist() == [0, 0, 0, 0]


def test_a_score_counts_pairs() -> None:
    truth, found = np.array([0, 0, 0, 3, 3]), np.array([0, 0, 2, 2, 4])
    result = score(found, truth)
    assert (result.right, result.found, result.true) == (1, 2, 4)
    assert result.f1 == pytest.approx(2 / 6)
    assert score(truth, truth).f1 == 1.0


def test_both_ways_to_the_truth_agree(planted: Planted) -> None:
    assert among_all(planted.texts, 0.7).tolist() == by_definition(planted, 0.7).tolist()
    assert among_all(planted.texts, 0.4).tolist() == by_definition(planted, 0.4).tolist()
