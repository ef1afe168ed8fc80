"""An embedder over an exported model: neither torch nor the library that made it is imported.

tokens ─ padded ─ engine, one batch a core → pooled vectors ─ truncated, unit length → vectors
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, refuse_other_width
from tasks.embedders.exported.folder import Export, TextFacts
from tasks.embedders.exported.sessions import SESSIONS, Inputs, Run
from tasks.embedders.exported.tokenizing import Tokenizing, load_tokenizing
from tasks.embedders.image_transform import ImageTransform
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.processes.cores import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

TOKEN_BUDGET = 1_024
"""Padded tokens in a batch on one core: 1,024 to 2,048 measured alike with MiniLM."""

IMAGE_BATCH = 8
"""Pictures in a batch on one core."""

SMALLEST_NORM = 1e-12
"""A vector is divided by at least this, as torch's `normalize` does."""


class ExportedEmbedder(BatchingEmbedder):
    """A model that another engine computes, from the files of its export."""

    def __init__(self, ref: EmbedderRef, folder: Path, export: Export) -> None:
        super().__init__(ref)
        self.token_budget = TOKEN_BUDGET
        self.image_batch = IMAGE_BATCH
        cores = usable_cores("OMP_NUM_THREADS")
        self.in_flight = cores + 1  # one waits, so that no core does
        self._folder = folder
        self._export = export
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix=f"{ref.engine}-batch")
        open_session = SESSIONS[ref.engine]
        self._text_model: Run | None = None
        self._image_model: Run | None = None
        if export.text:
            self._text_model = open_session(folder / export.text.file, ref.precision, cores)
        if export.image:
            self._image_model = open_session(folder / export.image.file, ref.precision, cores)

    # Text

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length."""
        return self._tokenizing.tokenize(texts, query=query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        return self._tokenizing.token_counts(texts)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch on a core that is free, or as soon as one is."""
        facts, model = self._export.text, self._text_model
        if facts is None or model is None:
            raise self._refusal("text")
        return self._pool.submit(
            lambda: finished(model(text_inputs(tokens, rows, facts)), self.ref)
        ).result

    # Images

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture, resized as the library does it: uint8 `[3, h, w]`."""
        return self._transform.of_picture(picture)

    def prepare_bytes(self, content: bytes) -> np.ndarray:
        """The picture in a file's bytes, decoded and resized on tensors: uint8 `[3, h, w]`.

        The tensors are torch's, which is imported when the first file comes. Raises `PictureError`.
        """
        from tasks.store.pictures import open_pixels

        return self._transform.of_pixels(open_pixels(content))

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """Begin one batch of prepared pictures, uint8 `[n, 3, h, w]`."""
        model = self._image_model
        if model is None:
            raise self._refusal("images")
        return self._pool.submit(
            lambda: finished(model({"pixels": channels_last(pixels)}), self.ref)
        ).result

    @cached_property
    def _tokenizing(self) -> Tokenizing:
        if self._export.text is None:
            raise self._refusal("text")
        return load_tokenizing(self.ref, self._folder, self._export.text)

    @cached_property
    def _transform(self) -> ImageTransform:
        if self._export.image is None:
            raise self._refusal("images")
        return ImageTransform.from_json(self._export.image.transform)


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """`[n, 3, h, w]` → `[n, h, w, 3]`: a view where channels lie side by side already."""
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def text_inputs(tokens: Tokens, rows: np.ndarray, facts: TextFacts) -> Inputs:
    """The arrays that the exported text model takes for the texts at `rows`."""
    ids, real = tokens.padded(rows, facts.pad, facts.left)
    if facts.clip is not None:
        return {"ids": ids}
    inputs = {"ids": ids, "mask": real}
    if facts.excluded is not None:
        # The place of each token among its text's own, whichever side is padded.
        place = np.cumsum(real, axis=1)
        inputs["pooled"] = real * (place > facts.excluded[tokens.query])
    return inputs


def finished(vectors: np.ndarray, ref: EmbedderRef) -> np.ndarray:
    """A batch's vectors as they are kept: float32, truncated, then brought to unit length.

    The length is taken here and not in the model, where bf16 would leave it wrong in the third
    digit. Raises `VecmillError` when the model is not as wide as its folder said.
    """
    refuse_other_width(tuple(vectors.shape), ref)
    vectors = np.ascontiguousarray(vectors[:, : ref.dimensions], np.float32)
    if ref.normalize:
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.maximum(norms, SMALLEST_NORM)[:, None]
    return vectors
