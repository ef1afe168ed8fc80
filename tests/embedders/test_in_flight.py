"""Batches under way: never more than asked for, in order, and an error only where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.embedders.in_flight import in_flight
from tasks.embedders.protocol import Pending


@given(st.integers(0, 12), st.integers(1, 5))
def test_results_keep_the_order_and_at_most_depth_are_under_way(batches: int, depth: int) -> None:
    under_way, most = 0, 0

    def submit(batch: int) -> Pending:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)

        def result() -> np.ndarray:
            nonlocal under_way
            under_way -= 1
            return np.array([batch])

        return result

    found = [
        (batch, pending().tolist()) for batch, pending in in_flight(submit, range(batches), depth)
    ]

    assert found == [(batch, [batch]) for batch in range(batches)]
    assert most == min(depth, batches)


def test_an_error_is_raised_for_its_own_batch_alone() -> None:
    def submit(batch: int) -> Pending:
        if batch == 1:
            raise ValueError("the second")
        return lambda: np.array([batch])

    found = dict(in_flight(submit, range(3), 3))

    assert [found[0]().item(), found[2]().item()] == [0, 2]
    with pytest.raises(ValueError, match="the second"):
        found[1]()
