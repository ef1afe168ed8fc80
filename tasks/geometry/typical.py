"""The row in the middle of each group on a map: where its name stands."""

from __future__ import annotations

import numpy as np


def typical_points(places: np.ndarray, groups: np.ndarray) -> dict[int, int]:
    """For each group the row that stands in its middle: the one nearest to its median.

    `places` is float `(n, 2)`, `groups` int `(n)`. A group in several heaps has its middle in one
    of them, not in between.
    """
    typical = {}
    order = np.argsort(groups, kind="stable")
    numbers, starts = np.unique(groups[order], return_index=True)
    for number, mine in zip(numbers, np.split(order, starts[1:]), strict=True):
        away = np.linalg.norm(places[mine] - np.median(places[mine], axis=0), axis=1)
        typical[int(number)] = int(mine[np.argmin(away.round(9))])
    return typical
