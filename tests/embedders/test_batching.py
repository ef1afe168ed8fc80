"""Batches: every text once, under the budget, whatever the lengths; halved when memory is short."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.embedders.batching import batch_rows
from tasks.embedders.tokens import Tokens


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 600))
def test_batches_hold_every_row_once_and_keep_to_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = list(batch_rows(np.asarray(lengths, np.int64), budget))

    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(1, max(lengths[row] for row in batch))
        assert padded <= budget or len(batch) == 1


def test_the_longest_come_first_so_that_memory_fails_at_once() -> None:
    assert [b.tolist() for b in batch_rows(np.array([1, 9, 2, 8]), 10)] == [[1], [3], [2, 0]]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=6), st.booleans())
def test_padding_puts_every_text_beside_its_padding(lists: list[list[int]], left: bool) -> None:
    width = max(map(len, lists))
    rows = np.arange(len(lists))[::-1]
    ids, real = Tokens.from_lists(lists).padded(rows, pad=-1, left=left)

    for row, line, mask in zip(rows, ids.tolist(), real.tolist(), strict=True):
        padding = [-1] * (width - len(lists[row]))
        assert line == (padding + lists[row] if left else lists[row] + padding)
        assert mask == [int(value != -1) for value in line]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=6))
def test_ragged_texts_follow_each_other(lists: list[list[int]]) -> None:
    rows = np.arange(len(lists))[::-1]
    ids, starts = Tokens.from_lists(lists).ragged(rows)
    ends = [*starts[1:].tolist(), len(ids)]

    cut = [ids[a:b].tolist() for a, b in zip(starts.tolist(), ends, strict=True)]
    assert cut == lists[::-1]
