"""Texts to batches of tokens, tokenised a slice ahead of the model.

    texts ─ slices ─ tokenise the next in the background ─ this one's batches, longest first

On a CPU there is one slice, all of them: tokenising takes a hundredth of the time, and one sort
gives the least padding. An accelerator would wait for the tokenizer: its slices begin small, so
that it starts at once, and grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from schemas.errors import VecmillError
from tasks.embedders.batching import batch_rows
from tasks.embedders.protocol import Embedder, Pending
from tasks.embedders.tokens import Tokens

FIRST_SLICE = 1_024
"""Texts in an accelerator's first slice: some ms of a GPU, and of its tokenizer."""

AHEAD = 3
"""Slices that are tokenised at a time: the processes that are done with one begin the next."""

LARGEST_SLICE = 32_768
"""A fifth of a second of a small model on a large GPU: several batches, little padding."""

NO_TOKENS = Tokens.from_lists([])


@dataclass(frozen=True)
class TextBatch:
    """One batch: the `rows` (int64) of `tokens`, whose first text is number `start` of all.

    `failure`: what the tokenizer raised for one of a slice's texts; there are no tokens then.
    """

    tokens: Tokens
    start: int
    rows: np.ndarray
    failure: Exception | None = None

    @property
    def places(self) -> np.ndarray:
        """Which of all texts these are: int64."""
        return self.start + self.rows


def text_batches(
    embedder: Embedder, texts: Sequence[str], *, query: bool = False
) -> Iterator[TextBatch]:
    """Every text in exactly one batch, under the embedder's token budget.

    A slice that the tokenizer cannot take is one batch, and the error that batch's own: `submitter`
    raises it. Raises `UsageError` for an empty text.
    """
    if not len(texts):
        return
    starts = slice_starts(len(texts), embedder.tokenizes_ahead)
    slices = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(texts)], strict=True)]
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="tokenize") as ahead:

        def begin(part: slice) -> Future[Tokens]:
            return ahead.submit(embedder.tokenize, texts[part], query=query)

        coming = deque(map(begin, slices[:AHEAD]))
        for i, start in enumerate(starts):
            following = coming.popleft()
            coming.extend(map(begin, slices[i + AHEAD : i + AHEAD + 1]))
            try:
                tokens = following.result()
            except (VecmillError, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001  libraries raise anything for one bad text
                rows = np.arange(slices[i].stop - start)
                yield TextBatch(NO_TOKENS, start, rows, failure=error)
                continue
            for rows in batch_rows(tokens.lengths, embedder.token_budget):
                yield TextBatch(tokens, start, rows)


def submitter(embedder: Embedder) -> Callable[[TextBatch], Pending]:
    """What begins such a batch."""

    def submit(batch: TextBatch) -> Pending:
        if batch.failure is not None:
            raise batch.failure
        return embedder.submit_tokens(batch.tokens, batch.rows)

    return submit


def slice_starts(texts: int, ahead: bool) -> list[int]:
    """Where each slice begins: one of all texts, or, `ahead`, slices that grow."""
    starts, size = [0], FIRST_SLICE
    while ahead and starts[-1] + size < texts:
        starts.append(starts[-1] + size)
        size = min(2 * size, LARGEST_SLICE)
    return starts
