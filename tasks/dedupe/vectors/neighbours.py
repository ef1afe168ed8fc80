"""Which rows are neighbours: pairs of vectors whose cosine reaches a threshold, sought by cells.

    vectors ─ float16 and back ─ length 1 ─→ cells of the fit: the nearest, others about as near
    rows that share a cell ─ matrix products ─→ candidates ─ checked one by one ─→ pairs, scores

Whether two rows are neighbours is a function of their two vectors, the cells and the threshold, and
of nothing else: not of the rows beside them, nor of the order or the size of the blocks in which
they are multiplied. A matrix product's last digits depend on those, so it only proposes: the cells
are chosen by products of whole numbers, which float32 holds exactly in any order, and a score is
summed in float64 from the first dimension to the last, then rounded.

Without cells every row is compared with every other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

CELLS_A_ROW = 3
"""Most cells that a row stands in."""

SPILL = 0.25
"""A row also stands in cells that are nearer than its nearest less this share of the distance
√(2 − 2·threshold) by which neighbours may differ. The share of the pairs ≥ .95 of 100,000 passages
that is found, and CPU-seconds: with 0 .936 in 1.0, 0.12 .997 in 1.2, 0.25 .9996 in 2.1, 0.5 .9999
in 2.6 (`benchmarks/semantic.py`)."""

GRID = 2048
"""Steps of a whole-number unit vector: sums stay below (GRID + √d)² < 2²⁴: float32 is exact."""

DECIMALS = 6
"""Of a score; more would be noise of float16."""

SLACK = 1e-4
"""Below the threshold, what a float32 product may still propose: a hundred times its error."""

WINDOW_BYTES = 32 << 20
"""Of vectors that are read together."""

PRODUCT = 1 << 22
"""Values of one matrix product: 16 MB."""

METHOD = ("shared cells", CELLS_A_ROW, SPILL, GRID, DECIMALS)
"""Names all that decides, besides the fit and the threshold, whether two rows are neighbours."""

NO_CELL = -1


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

    `groups` (int64 `[n]`): rows of different groups are never neighbours. `known` are the rows'
    cells (int32 `(n, CELLS_A_ROW)`) where an earlier build found them; −2 in the first column: not
    known. Vectors are loaded when they are first needed, those of no direction have no neighbours.
    """

    def __init__(
        self,
        load: Load,
        groups: np.ndarray,
        cells: np.ndarray,
        dimensions: int,
        threshold: float,
        known: np.ndarray | None = None,
    ) -> None:
        rows = len(groups)
        self.threshold = threshold
        self.groups = groups
        self._load = load
        self._cells = np.ascontiguousarray(np.rint(cells * GRID).astype(np.float32).T)
        self._unit = np.empty((rows, dimensions), np.float32)  # pages that are used take memory
        self._loaded = np.zeros(rows, bool)
        self.cells = np.full((rows, CELLS_A_ROW), -2, np.int32) if known is None else known.copy()
        self.ensure(np.flatnonzero(self.cells[:, 0] == -2))
        place = self.cells.ravel()
        member = np.flatnonzero(place >= 0)
        order = member[np.argsort(place[member], kind="stable")]  # rows ascend within a cell
        self._members = order // CELLS_A_ROW
        count = max(len(cells), 1)
        self._starts = np.searchsorted(place[order], np.arange(count + 1))

    def __len__(self) -> int:
        return len(self.groups)

    def ensure(self, rows: np.ndarray) -> None:
        """Load the vectors of these rows (ascending), and settle cells that are not known."""
        rows = rows[~self._loaded[rows]]
        step = max(WINDOW_BYTES // (4 * self._unit.shape[1]), 1)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            unit = as_unit(self._load(some))
            self._unit[some] = unit
            new = self.cells[some, 0] == -2
            if new.any():
                self.cells[some[new]] = self._nearest(unit[new])
        self._loaded[rows] = True

    def _nearest(self, unit: np.ndarray) -> np.ndarray:
        """The cells of some rows: int32 `(m, CELLS_A_ROW)`, the nearest first, then −1."""
        if self._cells.shape[1] == 0:
            found = np.full((len(unit), CELLS_A_ROW), NO_CELL, np.int32)
            found[:, 0] = 0
        else:
            margin = SPILL * np.sqrt(2 - 2 * min(self.threshold, 1.0)) * GRID**2
            step = max(PRODUCT // self._cells.shape[1], 1)
            found = np.concatenate(
                [
                    _best(np.rint(unit[at : at + step] * GRID) @ self._cells, margin)
                    for at in range(0, len(unit), step)
                ]
            )
        found[~unit.any(axis=1)] = NO_CELL
        return found

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
        self.ensure(self._touched(busy, queries, targets))
        held = [np.empty(0, np.int64)]
        size = 0
        for cell in busy:
            here = slice(self._starts[cell], self._starts[cell + 1])
            members = self._members[here]
            for first, second in self._alike(members[queries[here]], members[targets[here]]):
                held.append(first * len(self) + second)
                size += len(first)
                if size > most:
                    return None
        once = np.unique(np.concatenate(held))  # rows that share two cells met twice
        return Pairs(*np.divmod(once, max(len(self), 1)))

    def _touched(self, busy: np.ndarray, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The rows that stand in a busy cell and are asked for or asked about, ascending."""
        used = np.zeros(len(self._starts) - 1, bool)
        used[busy] = True
        used = np.repeat(used, np.diff(self._starts)) & (queries | targets)
        touched = np.zeros(len(self), bool)
        touched[self._members[used]] = True
        return np.flatnonzero(touched)

    def _alike(
        self, ours: np.ndarray, theirs: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The neighbours of one cell, some of its rows at a time."""
        if not len(theirs):
            return
        right = self._unit[theirs].T
        step = max(PRODUCT // len(theirs), 1)
        for start in range(0, len(ours), step):
            some = ours[start : start + step]
            product = (self._unit[some] @ right).ravel()
            hits = np.flatnonzero(product >= np.float32(self.threshold - SLACK))
            row, column = np.divmod(hits, len(theirs))
            first, second = some[row], theirs[column]
            left = (first != second) & (self.groups[first] == self.groups[second])
            near = np.flatnonzero(left & (product[hits] < np.float32(self.threshold + SLACK)))
            # compared as it is written: what a table says of a pair is what decided about it
            score = self.scores(first[near], second[near])
            left[near] = score >= np.float32(round(self.threshold, DECIMALS))
            yield first[left], second[left]

    def scores(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The cosine of each pair of rows, float32 `[n]`, rounded to `DECIMALS`."""
        self.ensure(np.unique(np.concatenate([first, second])))
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
