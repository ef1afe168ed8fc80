"""One bad item must not take its batch with it, and a broken embedder must not pass for bad items.

batch raises ─ does a harmless input embed? ─ no → raise: the embedder is at fault
                                             yes → halve until the bad items stand alone
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from schemas.errors import VecmillError

Forward = Callable[[np.ndarray], np.ndarray]
"""Embeds rows (int64): float32 `[len(rows), d]`."""


@dataclass
class Isolation:
    """Vectors as they come in; where a row could not be embedded, why.

    `vectors` is float32 `[n, d]`; rows in `failures` hold nothing. `probe` embeds something
    harmless, and raises when nothing can be embedded at all.
    """

    vectors: np.ndarray
    probe: Callable[[], object]
    failures: dict[int, str] = field(default_factory=dict)

    def embed(
        self, forward: Forward, rows: np.ndarray, pending: Callable[[], np.ndarray] | None = None
    ) -> None:
        """Embed one batch into `vectors`; what fails alone, or is no finite vector, is recorded.

        `pending`: the batch is under way already, and this gives its vectors.
        """
        if not len(rows):
            return
        try:
            vectors = forward(rows) if pending is None else pending()
        except (VecmillError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  libraries raise anything for one bad input
            self._bisect(forward, rows, error)
            return
        self.vectors[rows] = vectors
        self._check(rows, vectors)

    def _bisect(self, forward: Forward, rows: np.ndarray, error: Exception) -> None:
        if is_out_of_memory(error):
            raise error
        if len(rows) > 1:
            middle = len(rows) // 2
            self.embed(forward, rows[:middle])
            self.embed(forward, rows[middle:])
            return
        try:
            self.probe()
        except Exception as broken:
            raise VecmillError(
                f"the embedder fails on everything, a harmless input included: "
                f"{type(broken).__name__}: {broken}. First failure: {type(error).__name__}: {error}"
            ) from broken
        self.failures[int(rows[0])] = f"{type(error).__name__}: {error}"

    def _check(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        finite = np.isfinite(vectors).all(axis=1)
        for row in rows[~finite]:
            self.failures[int(row)] = "the embedder gave a vector with NaN or infinity"
        for row in rows[finite & ~vectors.any(axis=1)]:
            self.failures[int(row)] = "the embedder gave the zero vector, which no search can find"


NO_MEMORY = (
    *("not enough memory", "bad_alloc", "bad allocation", "failed to allocate memory"),
    *("cuda error: out of memory", "_status_alloc_failed", "mps backend out of memory"),
)
RUNTIME_ERRORS = ("RuntimeError", "RuntimeException", "AcceleratorError")
"""How torch's CPU allocator, OpenVINO, ONNX Runtime and a GPU outside torch's allocator say so. An
error of another type may quote the item's text, which may be about memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine ran out of memory: its fault, never the item's.

    Told for bad, an item would stay rejected where there is memory enough.
    """
    name, message = type(error).__name__, str(error).lower()
    said = name in RUNTIME_ERRORS and any(words in message for words in NO_MEMORY)
    return said or name == "OutOfMemoryError"
