"""Which rows are kept among neighbours: `keep_first`, without ever having all the pairs.

    judge_all   in blocks, in order: each row against the kept ones before it; who is left, in pairs
    judge_more  where most verdicts are known: only of rows that are new, or that lost what they
                pointed to, are the neighbours looked for

Both give what `keep_first` gives of all pairs. A family of thousands of rows that are all alike has
millions of pairs, and one kept row: against that alone the others are compared.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.dedupe.keep_first import keep_first
from tasks.dedupe.vectors.judgement import KEPT, UNKNOWN, Judgement
from tasks.dedupe.vectors.neighbours import Neighbourhood, Pairs

BLOCK_ROWS = 32_768
"""Rows that are compared with the kept ones together: fewer make products that are too small."""

MOST_PAIRS = 1 << 23
"""Pairs held at a time: 200 MB while they are put in order."""

FEW = 0.2
"""The share of rows up to which `judge_more` looks for their neighbours among all; above, judging
all in blocks is cheaper."""


def judge_all(near: Neighbourhood, judged: Judgement | None = None) -> Judgement:
    """The verdict on every row of `near`, whose numbers are their order."""
    rows = len(near)
    judged = judged or Judgement.unknown(rows)
    for start in range(0, rows, BLOCK_ROWS):
        _judge_block(near, judged, np.arange(start, min(start + BLOCK_ROWS, rows)))
    return judged


def _judge_block(near: Neighbourhood, judged: Judgement, block: np.ndarray) -> None:
    """Judge the rows of `block` (ascending), all before them being judged."""
    left = _mark_by_kept(near, judged, block)
    among = np.zeros(len(near), bool)
    among[left] = True
    pairs = near.pairs(left, among, MOST_PAIRS) if len(left) else None
    if pairs is None and len(left) > 1:
        half = len(left) // 2
        _judge_block(near, judged, left[:half])
        _judge_block(near, judged, left[half:])
        return
    judged.through[left] = KEPT
    if pairs is not None and len(pairs):
        once = pairs.first < pairs.second
        first, second = pairs.first[once], pairs.second[once]
        through = keep_first(len(left), *(np.searchsorted(left, each) for each in (first, second)))
        marked = np.flatnonzero(through >= 0)
        _mark(near, judged, left[marked], first[through[marked]])


def _mark_by_kept(near: Neighbourhood, judged: Judgement, block: np.ndarray) -> np.ndarray:
    """Mark the rows of `block` that have a kept neighbour; return those that have none."""
    kept = judged.through == KEPT
    if not kept.any():
        return block
    pairs = near.pairs(block, kept, MOST_PAIRS if len(block) > 1 else len(near) ** 2)
    if pairs is None:
        half = len(block) // 2
        parts = [_mark_by_kept(near, judged, part) for part in (block[:half], block[half:])]
        return np.concatenate(parts)
    marked, at = np.unique(pairs.first, return_index=True)  # pairs are sorted: the first kept one
    _mark(near, judged, marked, pairs.second[at])
    return block[judged.through[block] == UNKNOWN]


def _mark(near: Neighbourhood, judged: Judgement, rows: np.ndarray, kept: np.ndarray) -> None:
    judged.through[rows] = kept
    judged.score[rows] = near.scores(rows, kept)


def judge_more(near: Neighbourhood, judged: Judgement) -> Judgement:
    """The verdict on every row, from one that holds but for `UNKNOWN` rows (new, or moved).

    What is known must be of the same rows in the same order, less some that left; who pointed to
    one of those is `UNKNOWN`.
    """
    open_ = judged.through == UNKNOWN
    fresh, found = np.flatnonzero(open_), Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    every = np.ones(len(near), bool)
    through = judged.through
    while len(fresh):
        if open_.sum() > FEW * len(near):
            return judge_all(near)
        more = near.pairs(fresh, every, MOST_PAIRS - len(found))
        if more is None:
            return judge_all(near)
        found = _joined(found, more)
        through, lost = _settle(judged.through, open_, found.first, found.second)
        fresh = np.flatnonzero(lost)
        open_[fresh] = True
    settled = Judgement(through, np.where(through == KEPT, np.float32(0), judged.score))
    other = np.flatnonzero((through != judged.through) & (through >= 0))
    _mark(near, settled, other, through[other])
    return settled


def _joined(found: Pairs, more: Pairs) -> Pairs:
    """Both, by `first` and then `second`."""
    first = np.concatenate([found.first, more.first])
    second = np.concatenate([found.second, more.second])
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order])


@njit(cache=True, nogil=True)
def _settle(known, open_, first, second):  # type: ignore[no-untyped-def]  # compiled
    """Walk the rows in order; `first` (sorted) are the open ones, `second` all their neighbours.

    Returns what each row points to, and which known rows lost the one that they pointed to and
    must be opened, since their other neighbours are not known.
    """
    rows = len(known)
    through = known.copy()
    best = np.full(rows, rows, np.int64)  # the first open row that is alike and kept
    lost = np.zeros(rows, np.bool_)
    at = 0
    for row in range(rows):
        begin = at
        while at < len(first) and first[at] == row:
            at += 1
        if open_[row]:
            through[row] = KEPT
            for pair in range(begin, at):
                if second[pair] < row and through[second[pair]] == KEPT:
                    through[row] = second[pair]
                    break
            if through[row] == KEPT:
                for pair in range(begin, at):
                    if second[pair] > row:
                        best[second[pair]] = min(best[second[pair]], row)
            continue
        old = through[row]
        if old == KEPT or best[row] <= old:
            # no known row that is kept and alike stands before the old one; newly kept are open
            if best[row] < rows:
                through[row] = best[row]
        elif through[old] != KEPT:
            lost[row] = True
    return through, lost
