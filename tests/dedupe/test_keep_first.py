"""Who is kept among rows that resemble each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dedupe.keep_first import keep_first


def test_a_chain_marks_every_second_row() -> None:
    """0 ~ 1 ~ 2 ~ 3, but 0 and 2 are not alike: 2 stays, and 3 points to it."""
    assert keep_first(4, np.array([0, 1, 2]), np.array([1, 2, 3])).tolist() == [-1, 0, -1, 2]


def test_a_row_points_to_the_first_kept_one() -> None:
    assert keep_first(3, np.array([1, 0]), np.array([2, 2])).tolist() == [-1, -1, 1]


def test_a_pair_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(ValueError, match="first < second"):
        keep_first(2, np.array([1]), np.array([0]))


@given(st.integers(1, 12), st.data())
def test_kept_rows_are_not_alike_and_marked_ones_resemble_theirs(rows: int, data) -> None:
    row = st.integers(0, rows - 1)
    drawn = data.draw(st.lists(st.tuples(row, row).filter(lambda p: p[0] < p[1])))
    first, second = (np.array([p[i] for p in drawn], np.int64) for i in (0, 1))
    through = keep_first(rows, first, second)
    kept = {i for i in range(rows) if through[i] < 0}
    for i, j in drawn:
        assert not (i in kept and j in kept)
    for i in set(range(rows)) - kept:
        pair = int(through[i])
        assert second[pair] == i
        assert first[pair] in kept
        assert first[pair] == min(a for a, b in drawn if b == i and a in kept)
