"""Who is kept among rows that resemble each other: greedily, in a total order, without chaining.

A row is kept unless it resembles a row before it that is kept; then it is marked, and points to
the first such. So no kept row resembles another kept row, each marked row resembles the one that it
points to, and the result is a function of the order and the resemblances alone. (The
lexicographically first maximal independent set. Following chains of resemblance instead would
mark rows that are not alike.)
"""

from __future__ import annotations

import numpy as np
from numba import njit


def keep_first(rows: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Through which pair each row is marked: int64 `(rows)`, −1 for rows that are kept.

    Rows are numbered by their order, 0 the one that is kept before all others. `first < second`
    (int64 `(pairs)`) are the rows that resemble each other, in no order. Raises `ValueError` for a
    pair that is not so.
    """
    first, second = np.asarray(first, np.int64), np.asarray(second, np.int64)
    if len(first) and not ((first >= 0) & (first < second) & (second < rows)).all():
        raise ValueError(f"pairs of {rows} rows: expected 0 ≤ first < second < {rows} in each")
    return _walk(rows, first, second, np.lexsort((first, second)))


@njit(cache=True, nogil=True)
def _walk(rows, first, second, order):  # type: ignore[no-untyped-def]  # compiled
    through = np.full(rows, -1, np.int64)
    for pair in order:  # by the later row: all before it are decided
        if through[second[pair]] < 0 and through[first[pair]] < 0:
            through[second[pair]] = pair
    return through
