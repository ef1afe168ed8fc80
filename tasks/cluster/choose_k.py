"""How many clusters a sample has, where the spec says `auto`."""

from __future__ import annotations

import numpy as np


def choose_k(unit: np.ndarray) -> int:
    return max(1, min(50, round((len(unit) / 2) ** 0.5)))
