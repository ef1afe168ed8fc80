"""Embed pictures and text into one space with open_clip, from a local folder, offline.

Text goes through open_clip's own tokenizer, pictures through its own inference transform: the
vectors are those of `encode_text` and `encode_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, done, halving
from tasks.embedders.open_clip_text import OpenClipText
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import device, dtype, finish, image_batch, token_budget
from tasks.embedders.torch_lanes import lanes

if TYPE_CHECKING:
    from PIL.Image import Image


def load_open_clip(ref: EmbedderRef) -> OpenClip:
    """Build the model of `ref` from its folder; weights missing or left over are an error."""
    where = device()
    dtype(ref, where)  # refuses a precision that this device does not compute in
    name = f"local-dir:{ref.folder}"
    model, transform = open_clip.create_model_from_pretrained(
        name, precision=ref.precision, device=where, weights_only=True
    )
    tokenizer = open_clip.get_tokenizer(name)
    return OpenClip(ref, model.eval(), transform, tokenizer, where)


class OpenClip(BatchingEmbedder):
    """A CLIP-like model: text and pictures in one space."""

    def __init__(
        self, ref: EmbedderRef, model: Any, transform: Any, tokenizer: Any, where: torch.device
    ) -> None:
        super().__init__(ref)
        self.token_budget = token_budget(where)
        self.image_batch = image_batch(where)
        self.model = model
        self.transform = transform
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        self._text_tower = OpenClipText(ref, model, tokenizer, self._lanes)
        self._device = where
        self._dtype = open_clip.get_input_dtype(ref.precision)

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, cut to the context length, and padded where it counts."""
        return self._text_tower.tokenize(texts, query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        return self._text_tower.token_counts(texts)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: float32 `[len(rows), d]`."""
        return self._text_tower.submit(tokens, rows)

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture through open_clip's inference transform: float32 `[3, h, w]`."""
        return self.transform(picture).numpy()

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """One batch of prepared pictures, computed at once: float32 `[n, d]`."""
        return done(halving(lambda part: self._image(pixels[part]), np.arange(len(pixels))))

    @torch.inference_mode()
    def _image(self, pixels: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(pixels).to(self._device, self._dtype)
        return finish(self.model.encode_image(batch), self.ref)
