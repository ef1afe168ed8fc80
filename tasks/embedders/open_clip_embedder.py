"""Embed pictures and text into one space with open_clip, from a local folder, offline.

Text is padded to the model's context length by open_clip's own tokenizer, pictures go through the
steps of its own inference transform: the vectors are those of `encode_text` and `encode_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, done, halving, refuse_empty
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import device, dtype, finish, token_budget
from tasks.embedders.torch_images import TorchImages

if TYPE_CHECKING:
    from PIL.Image import Image


def load_open_clip(ref: EmbedderRef) -> OpenClip:
    """Build the model of `ref` from its folder; weights missing or left over are an error."""
    where = device()
    name = f"local-dir:{ref.folder}"
    kind = dtype(ref, where)
    model, transform = open_clip.create_model_from_pretrained(
        name, precision=ref.precision, device=where, weights_only=True
    )
    model.visual.to(memory_format=torch.channels_last)
    tokenizer = open_clip.get_tokenizer(name)
    return OpenClip(ref, model.eval(), transform, tokenizer, where, kind)


class OpenClip(BatchingEmbedder):
    """A CLIP-like model: text and pictures in one space."""

    def __init__(
        self,
        ref: EmbedderRef,
        model: Any,
        transform: Any,
        tokenizer: Any,
        where: torch.device,
        kind: torch.dtype,
    ) -> None:
        super().__init__(ref)
        self.token_budget = token_budget(where)
        self.model = model
        self.images = TorchImages(ref, model.visual, model.encode_image, transform, where, kind)
        self.in_flight = self.images.in_flight
        self._tokenizer = tokenizer
        self._tokenizer_lock = Lock()  # tokenizers keep truncation and caches as state
        self._device = where

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, padded or cut to the context length."""
        refuse_empty(texts)
        prompt = self.ref.query_prompt if query else self.ref.prompt
        with self._tokenizer_lock:
            matrix = self._tokenizer([prompt + text for text in texts])
        return Tokens.from_matrix(matrix.numpy(), query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        with self._tokenizer_lock:
            inner = getattr(self._tokenizer, "tokenizer", None)
            if inner is None:
                lists = [self._tokenizer.encode(text) for text in texts]
            else:
                lists = inner(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return Tokens.from_lists(lists).lengths.astype(np.int32)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """One batch, computed at once: float32 `[len(rows), d]`."""
        return done(halving(lambda part: self._text(tokens.padded(part)[0]), rows))

    @property
    def image_batch(self) -> int:  # type: ignore[bad-override]  # it may change
        """Pictures in a batch."""
        return self.images.batch

    @image_batch.setter
    def image_batch(self, pictures: int) -> None:
        self.images.batch = pictures

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture, resized as the library does it: uint8 `[3, h, w]`."""
        return self.images.prepare_image(picture)

    def prepare_bytes(self, content: bytes) -> np.ndarray:
        """The picture in a file's bytes, decoded and resized on tensors: uint8 `[3, h, w]`."""
        return self.images.prepare_bytes(content)

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """Begin one batch of prepared pictures."""
        return self.images.submit(pixels)

    @torch.inference_mode()
    def _text(self, ids: np.ndarray) -> np.ndarray:
        vectors = self.model.encode_text(torch.from_numpy(ids).to(self._device))
        return finish(vectors, self.ref)
