"""Which rows are neighbours: pairs of vectors whose cosine reaches a threshold, sought by cells.

    vectors ─ float16 and back ─ length 1 ─→ cells of the fit: the nearest, others about as near
                                           └→ sketch: 256 bits
    rows that share a cell ─ few bits differ ─→ candidates ─ cosine ─→ pairs, scores

Cells and sketches are kept from build to build, so that of most rows no vector is read.

Whether two rows are neighbours is a function of their two vectors, the cells and the threshold, and
of nothing else: not of the rows beside them, nor of the order or the size of the blocks in which
they are multiplied. A matrix product's last digits depend on those: cells and sketches are found by
products of whole numbers, which float32 holds exactly in any order. The cosine of a candidate is
computed in float32 first; near the threshold, and as a score, it is summed in float64 from the
first dimension to the last, then rounded.

Without cells every row is compared with every other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from tasks.dedupe.ones import ones
from tasks.dedupe.vectors.sketch import (
    BITS,
    CELLS_A_ROW,
    DECIMALS,
    GRID,
    LOST,
    NO_CELL,
    NOT_KNOWN,
    WORDS,
    Traits,
    directions,
    most_apart,
    sketches_of,
)

SPILL = 0.25
"""A row also stands in cells that are nearer than its nearest less this share of the distance
√(2 − 2·threshold) by which neighbours may differ. The share of the pairs ≥ .95 of 100,000 passages
that is found, and CPU-seconds: with 0 .936 in 1.0, 0.12 .997 in 1.2, 0.25 .9996 in 2.1, 0.5 .9999
in 2.6 (`benchmarks/semantic.py`)."""

SLACK = 1e-4
"""Below the threshold, what a float32 product may still propose: a hundred times its error."""

WINDOW_BYTES = 32 << 20
"""Of vectors that are read together."""

PRODUCT = 1 << 22
"""Values of one matrix product: 16 MB."""

METHOD = ("shared cells, near sketches", CELLS_A_ROW, SPILL, GRID, DECIMALS, BITS, LOST)
"""Names all that decides, besides the fit and the threshold, whether two rows are neighbours."""


@dataclass(frozen=True)
class Pairs:
    """Neighbours: row numbers int64 `[n]` each, sorted by `first` and then `second`."""

    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


Load = Callable[[np.ndarray], np.ndarray]
"""The vectors, float32 `(m, d)`, of some rows (int64 `[m]`, ascending)."""


class Neighbourhood:
    """`n` rows among which neighbours are sought; what is held is 4 bytes a dimension and row.

    `groups` (int64 `[n]`): rows of different groups are never neighbours. `known`: what the rows
    are sought by, where an earlier build found it. Vectors are loaded when they are first needed,
    those of no direction have no neighbours.
    """

    def __init__(
        self,
        load: Load,
        groups: np.ndarray,
        cells: np.ndarray,
        dimensions: int,
        threshold: float,
        known: Traits | None = None,
    ) -> None:
        rows = len(groups)
        self.threshold = threshold
        self.groups = groups
        self._load = load
        self._count = len(cells)
        whole = np.rint(cells * GRID).astype(np.float32).T
        self._sides = np.concatenate([directions(dimensions), whole], axis=1)
        self._apart = np.uint64(most_apart(threshold, dimensions))
        self._unit = np.empty((rows, dimensions), np.float32)  # pages that are used take memory
        self._loaded = np.zeros(rows, bool)
        self.traits = Traits.unknown(rows) if known is None else known.copy()
        self.ensure(np.flatnonzero(self.traits.cells[:, 0] == NOT_KNOWN))
        place = self.traits.cells.ravel()
        member = np.flatnonzero(place >= 0)
        order = member[np.argsort(place[member], kind="stable")]  # rows ascend within a cell
        self._members = order // CELLS_A_ROW
        count = max(len(cells), 1)
        self._starts = np.searchsorted(place[order], np.arange(count + 1))

    def __len__(self) -> int:
        return len(self.groups)

    def ensure(self, rows: np.ndarray) -> None:
        """Load the vectors of these rows (ascending), and find the traits that are not known."""
        rows = rows[~self._loaded[rows]]
        step = max(WINDOW_BYTES // (4 * self._unit.shape[1]), 1)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            unit = as_unit(self._load(some))
            self._unit[some] = unit
            new = self.traits.cells[some, 0] == NOT_KNOWN
            if new.any():
                self._settle(some[new], unit[new])
        self._loaded[rows] = True

    def _settle(self, rows: np.ndarray, unit: np.ndarray) -> None:
        """Find what some rows are sought by."""
        margin = SPILL * np.sqrt(2 - 2 * min(self.threshold, 1.0)) * GRID**2
        step = max(PRODUCT // self._sides.shape[1], 1)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            products = np.rint(unit[part] * GRID) @ self._sides
            cells = np.full((len(products), CELLS_A_ROW), NO_CELL, np.int32)
            if self._count:
                cells = _best(products[:, BITS:], margin)
            else:
                cells[:, 0] = 0
            cells[~unit[part].any(axis=1)] = NO_CELL
            self.traits.cells[rows[part]] = cells
            self.traits.sketches[rows[part]] = sketches_of(products[:, :BITS])

    def pairs(self, rows: np.ndarray, among: np.ndarray, most: int) -> Pairs | None:
        """Every neighbour that each of `rows` (ascending) has in `among` (bool `[n]`), once.

        `first` is of `rows`, `second` of `among`; a pair of two that are both stands there twice.
        None: there are more than `most`.
        """
        wanted = np.zeros(len(self), bool)
        wanted[rows] = True
        queries, targets = wanted[self._members], among[self._members]
        before = np.concatenate([[0], np.cumsum(queries)])
        busy = np.flatnonzero(np.diff(before[self._starts]))
        held = [np.empty(0, np.int64)]
        size = 0
        for first, second in self._candidates(busy, queries, targets):
            found = self._alike(first, second)
            held.append(found)
            size += len(found)
            if size > most:
                return None
        once = np.unique(np.concatenate(held))  # of different batches, or of two cells
        return Pairs(*np.divmod(once, max(len(self), 1)))

    def _candidates(
        self, busy: np.ndarray, queries: np.ndarray, targets: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Rows (int64 `(2, m)`) that share a cell and have near sketches, many pairs at a time.

        Those of one cell follow each other: their vectors are still in the processor's cache.
        """
        room = np.empty((2, PRODUCT + max(PRODUCT, len(self))), np.int64)
        size = 0
        for cell in busy:
            here = slice(self._starts[cell], self._starts[cell + 1])
            members = self._members[here]
            ours, theirs = members[queries[here]], members[targets[here]]
            step = max(PRODUCT // max(len(theirs), 1), 1)
            for start in range(0, len(ours), step):
                some = ours[start : start + step]
                size = _near(
                    self.traits.sketches, self.groups, some, theirs, self._apart, room, size
                )
                if size > PRODUCT:
                    yield room[:, :size]
                    size = 0
        yield room[:, :size]

    def _alike(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Those of the pairs whose cosine reaches the threshold, as first · n + second."""
        self._ensure_both(first, second)
        product = _products(self._unit, first, second)
        left = product >= np.float32(self.threshold - SLACK)
        near = np.flatnonzero(left & (product < np.float32(self.threshold + SLACK)))
        # compared as it is written: what a table says of a pair is what decided about it
        score = _scores(self._unit, first[near], second[near])
        left[near] = score >= np.float32(round(self.threshold, DECIMALS))
        return first[left] * len(self) + second[left]

    def _ensure_both(self, first: np.ndarray, second: np.ndarray) -> None:
        wanted = np.zeros(len(self), bool)
        wanted[first] = wanted[second] = True
        self.ensure(np.flatnonzero(wanted))

    def scores(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The cosine of each pair of rows, float32 `[n]`, rounded to `DECIMALS`."""
        self._ensure_both(first, second)
        return _scores(self._unit, first, second)


def as_unit(vectors: np.ndarray) -> np.ndarray:
    """float32 `(m, d)` rounded to float16 and brought to length 1; 0 where there is no direction.

    So the vectors of the workdir and of a table that holds float16 are the same here.
    """
    with np.errstate(over="ignore"):
        return _unit(vectors.astype(np.float16).astype(np.float32))


@njit(cache=True, nogil=True)
def _unit(vectors):  # type: ignore[no-untyped-def]  # compiled
    for i in range(vectors.shape[0]):
        total = 0.0
        for j in range(vectors.shape[1]):
            total += float(vectors[i, j]) * float(vectors[i, j])
        scale = 1.0 / np.sqrt(total) if total > 0.0 and np.isfinite(total) else 0.0
        for j in range(vectors.shape[1]):
            vectors[i, j] = vectors[i, j] * scale if scale > 0.0 else 0.0
    return vectors


@njit(cache=True, nogil=True)
def _near(sketches, groups, ours, theirs, most, room, size):  # type: ignore[no-untyped-def]  # compiled
    """Add the pairs of one group whose sketches differ in no more than `most` bits."""
    right = sketches[theirs]
    for i in range(len(ours)):
        row = ours[i]
        mine = sketches[row]
        for j in range(len(theirs)):
            apart = np.uint64(0)
            for word in range(WORDS):
                apart += ones(mine[word] ^ right[j, word])
            other = theirs[j]
            if apart <= most and row != other and groups[row] == groups[other]:
                room[0, size] = row
                room[1, size] = other
                size += 1
    return size


@njit(cache=True, nogil=True, fastmath=True)
def _products(unit, first, second):  # type: ignore[no-untyped-def]  # compiled
    """The cosine of each pair, in float32 and any order of summing: it only proposes."""
    out = np.empty(len(first), np.float32)
    for i in range(len(first)):
        a, b = unit[first[i]], unit[second[i]]
        total = np.float32(0)
        for j in range(len(a)):
            total += a[j] * b[j]
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def _scores(unit, first, second):  # type: ignore[no-untyped-def]  # compiled
    """The cosine of each pair: summed in one order, so that it never differs; rounded."""
    out = np.empty(len(first), np.float32)
    for i in range(len(first)):
        a, b = unit[first[i]], unit[second[i]]
        total = 0.0
        for j in range(len(a)):
            total += float(a[j]) * float(b[j])
        out[i] = min(round(total, DECIMALS), 1.0)
    return out


@njit(cache=True, nogil=True)
def _best(near, margin):  # type: ignore[no-untyped-def]  # compiled
    """The nearest cells of each row, and those within `margin` of it; of equals the first."""
    out = np.full((near.shape[0], CELLS_A_ROW), NO_CELL, np.int32)
    value = np.empty(CELLS_A_ROW, np.float32)
    for i in range(near.shape[0]):
        value[:] = -np.inf
        for cell in range(near.shape[1]):
            score = near[i, cell]
            if score > value[CELLS_A_ROW - 1]:
                at = CELLS_A_ROW - 1
                while at > 0 and score > value[at - 1]:
                    value[at] = value[at - 1]
                    out[i, at] = out[i, at - 1]
                    at -= 1
                value[at] = score
                out[i, at] = cell
        for at in range(1, CELLS_A_ROW):
            if value[at] < value[0] - margin:
                out[i, at] = NO_CELL
    return out
