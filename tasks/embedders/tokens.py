"""Tokenised texts as two flat arrays: all token ids, and where each text begins.

Tokenise once, sort and batch by length, pad each batch with array operations: no list of lists is
copied token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """`n` texts as the model receives them: cut, with special and prompt tokens.

    `ids` is int32 of all tokens one after the other; `offsets` int64 `[n + 1]`; `prompted` says
    whether they stand after the query prompt instead of the document prompt.
    """

    ids: np.ndarray
    offsets: np.ndarray
    query: bool = False

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]], query: bool = False) -> Tokens:
        """From one list of ids for each text."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids = np.fromiter(chain.from_iterable(lists), np.int32, int(offsets[-1]))
        return cls(ids, offsets, query)

    @classmethod
    def from_matrix(cls, matrix: np.ndarray, query: bool = False) -> Tokens:
        """From texts that are padded to one width: int `[n, width]`."""
        rows, width = matrix.shape
        return cls(
            np.ascontiguousarray(matrix, np.int32).reshape(-1),
            np.arange(rows + 1, dtype=np.int64) * width,
            query,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text: int64 `[n]`."""
        return np.diff(self.offsets)

    def padded(
        self, rows: np.ndarray, pad: int = 0, left: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `rows` side by side, and the mask of real ones: int64 `[len(rows), width]`."""
        lengths = self.lengths[rows][:, None]
        width = int(lengths.max(initial=0))
        place = np.arange(width)[None, :] - ((width - lengths) if left else 0)
        real = (place >= 0) & (place < lengths)
        where = np.where(real, self.offsets[rows][:, None] + place, 0)
        ids = np.where(real, self.ids[where] if self.ids.size else 0, pad)
        return ids.astype(np.int64), real.astype(np.int64)

    def ragged(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of `rows` one after the other, and where each begins: two int64 arrays."""
        lengths = self.lengths[rows]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[:-1]
        where = np.repeat(self.offsets[rows] - starts, lengths) + np.arange(lengths.sum())
        return self.ids[where].astype(np.int64), starts
