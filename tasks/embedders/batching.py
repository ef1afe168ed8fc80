"""Batches of texts under a token budget, and of pictures by number; results in the order given.

    lengths ─ sort, longest first ─ cut where rows × longest exceeds the budget → batches

Sorting by token count leaves next to no padding (FACTS: 1.0006 padded tokens per real one); the
longest come first, so that what does not fit in memory is known at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import UsageError, VecmillError
from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef
from tasks.embedders.in_flight import in_flight
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens

if TYPE_CHECKING:
    from PIL.Image import Image

    from tasks.embedders.image_transform import ImageTransform


def batch_rows(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Row numbers (int64) batch by batch: longest first, `rows × longest ≤ budget`, at least one.

    `lengths` is int `[n]`; every row is in exactly one batch.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, budget // longest)
        yield order[start:stop]
        start = stop


def token_slots(lengths: np.ndarray, *, padded: bool) -> int:
    """The tokens that a batch of texts of these lengths (int `[n]`) takes, with its padding."""
    return int(lengths.max(initial=0)) * len(lengths) if padded else int(lengths.sum())


def stack_pixels(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Prepared pictures `[3, h, w]` as one batch `[n, 3, h, w]`; channels lie side by side."""
    return np.stack([pixels.transpose(1, 2, 0) for pixels in pictures]).transpose(0, 3, 1, 2)


def done(vectors: np.ndarray) -> Pending:
    """The pending form of a batch that is computed already."""
    return lambda: vectors


class BatchingEmbedder:
    """The part of `Embedder` that every kind shares: from single batches to any number of inputs.

    A kind defines the methods that prepare and embed one batch; those that it does not define
    refuse, with the reason and what to use instead.
    """

    token_budget: int = 1
    image_batch: int = 1
    in_flight: int = 1
    padded: bool = True
    tokenizes_ahead: bool = False
    decodes_apart: ImageTransform | None = None

    def __init__(self, ref: EmbedderRef) -> None:
        self.ref = ref

    @property
    def dimensions(self) -> int:
        """The width of the vectors."""
        return self.ref.dimensions

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """Refused: this kind takes no text."""
        raise self._refusal("text")

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Refused: this kind takes no text."""
        raise self._refusal("text")

    def embed_tokens(self, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        """One batch, begun and awaited: float32 `[len(rows), d]`."""
        return self.submit_tokens(tokens, rows)()

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Refused: this kind takes no text."""
        raise self._refusal("text")

    def prepare_image(self, picture: Image) -> np.ndarray:
        """Refused: this kind takes no pictures."""
        raise self._refusal("images")

    def prepare_bytes(self, content: bytes) -> np.ndarray:
        """The picture in an image file's bytes, as `prepare_image` prepares it."""
        from tasks.store.pictures import open_picture  # Pillow, where there are pictures

        return self.prepare_image(open_picture(content))

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """Refused: this kind takes no pictures."""
        raise self._refusal("images")

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """One batch of prepared pictures, begun and awaited: float32 `[n, d]`."""
        return self.submit_pixels(pixels)()

    def embed_texts(
        self, texts: Sequence[str], *, query: bool = False, progress: Progress = SILENT
    ) -> np.ndarray:
        """Texts to float32 `[n, d]`, in the order given, batched under the token budget."""
        from tasks.embedders.text_batches import submitter, text_batches  # which needs this module

        vectors = np.empty((len(texts), self.dimensions), np.float32)
        batches = text_batches(self, texts, query=query)
        for batch, pending in in_flight(submitter(self), batches, self.in_flight):
            vectors[batch.places] = pending()
            progress.advance(len(batch.rows))
        return vectors

    def embed_images(self, pictures: Sequence[Image], progress: Progress = SILENT) -> np.ndarray:
        """Upright RGB pictures to float32 `[n, d]`, in the order given."""
        vectors = np.empty((len(pictures), self.dimensions), np.float32)
        batches = (
            slice(start, min(start + self.image_batch, len(pictures)))
            for start in range(0, len(pictures), self.image_batch)
        )

        def submit(batch: slice) -> Pending:
            return self.submit_pixels(
                stack_pixels([self.prepare_image(picture) for picture in pictures[batch]])
            )

        for batch, pending in in_flight(submit, batches, self.in_flight):
            vectors[batch] = pending()
            progress.advance(batch.stop - batch.start)
        return vectors

    def _refusal(self, kind: str) -> UsageError:
        takes = " and ".join(sorted(self.ref.kinds))
        return UsageError(
            f"embedder {self.ref.model!r} (kind {self.ref.kind}) embeds {takes}, not {kind}: "
            f"use an embedder of kind open-clip for both"
        )


def refuse_empty(texts: Sequence[str]) -> None:
    """Raise `UsageError` when a text is empty: models give `""` a vector that matches anything."""
    if "" in texts:
        raise UsageError(
            "an empty text was given to embed: it would get a vector that means nothing and is "
            "found by any query; give some words"
        )


def refuse_other_width(shape: tuple[int, ...], ref: EmbedderRef) -> None:
    """Raise `VecmillError` when vectors of that shape are not as wide as the folder said."""
    width = shape[1] if len(shape) == 2 else 0
    if width < ref.dimensions or (ref.truncate is None and width != ref.dimensions):
        raise VecmillError(
            f"embedder {ref.model!r} gave vectors of shape {shape}, its folder said "
            f"{ref.dimensions} dimensions: the model's config does not fit its weights; "
            f"save the model again with the library that made it"
        )
