"""Bisection finds the bad items with few calls, and never blames them for a broken device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.embed.isolate import Isolation


def isolation(size: int) -> Isolation:
    return Isolation(np.zeros((size, 2), np.float32), probe=lambda: None)


@settings(deadline=None)
@given(st.sets(st.integers(0, 31)))
def test_exactly_the_bad_rows_are_found(bad: set[int]) -> None:
    found = isolation(32)

    def forward(rows: np.ndarray) -> np.ndarray:
        if bad & set(rows.tolist()):
            raise ValueError(f"cannot take {sorted(bad & set(rows.tolist()))[0]}")
        return np.stack([rows, np.ones_like(rows)], axis=1).astype(np.float32)

    found.embed(forward, np.arange(32))

    assert found.failures == {row: f"ValueError: cannot take {row}" for row in bad}
    for row in set(range(32)) - bad:
        assert found.vectors[row].tolist() == [row, 1]


def test_one_bad_row_of_a_thousand_costs_twenty_calls() -> None:
    calls = 0

    def forward(rows: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if 700 in rows:
            raise ValueError("seven hundred")
        return np.ones((len(rows), 2), np.float32)

    isolation(1024).embed(forward, np.arange(1024))
    assert calls == 21


def test_a_device_without_memory_is_not_the_items_fault() -> None:
    import torch

    def forward(rows: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("the card is full")

    with pytest.raises(torch.OutOfMemoryError, match="the card is full"):
        isolation(4).embed(forward, np.arange(4))
