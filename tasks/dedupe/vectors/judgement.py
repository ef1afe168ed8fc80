"""What was judged of rows that are numbered in the order in which they are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEPT = -1
UNKNOWN = -2
"""Instead of the row that a row points to."""


@dataclass(frozen=True)
class Judgement:
    """`through` (int64 `[n]`): the row that each points to, or `KEPT`; `score` float32 `[n]`."""

    through: np.ndarray
    score: np.ndarray

    @classmethod
    def unknown(cls, rows: int) -> Judgement:
        """Nothing is known of any row."""
        return cls(np.full(rows, UNKNOWN, np.int64), np.zeros(rows, np.float32))
