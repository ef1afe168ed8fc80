"""Embed pictures and text into one space with open_clip, from a local folder, offline.

Text goes through open_clip's own tokenizer, pictures through the steps of its own inference
transform: the vectors are those of `encode_text` and `encode_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder
from tasks.embedders.budget import TokenBudget
from tasks.embedders.open_clip_text import OpenClipText
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import device, device_name, dtype, token_budget
from tasks.embedders.torch_images import TorchImages
from tasks.embedders.torch_lanes import lanes

if TYPE_CHECKING:
    from PIL.Image import Image


def load_open_clip(ref: EmbedderRef) -> OpenClip:
    """Build the model of `ref` from its folder; weights missing or left over are an error."""
    where = device()
    name = f"local-dir:{ref.folder}"
    kind = dtype(ref, where)  # refuses a precision that this device does not compute in
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
        self.model = model
        self.images = TorchImages(ref, model.visual, model.encode_image, transform, where, kind)
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        self.decodes_apart = self.images.decodes_apart
        self._budget = TokenBudget(ref, device_name(where), token_budget(where))
        self._text_tower = OpenClipText(ref, model, tokenizer, self._lanes, self._budget)

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, cut to the context length, and padded where it counts."""
        return self._text_tower.tokenize(texts, query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        return self._text_tower.token_counts(texts)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: float32 `[len(rows), d]`."""
        return self._text_tower.submit(tokens, rows)

    @property
    def token_budget(self) -> int:  # type: ignore[bad-override]  # it may change
        """Padded tokens in a batch."""
        return self._budget.tokens

    @token_budget.setter
    def token_budget(self, tokens: int) -> None:
        self._budget.fix(tokens)

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
