"""Embed pictures with a timm model: pooled features before the classifier, timm's own transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, done, halving
from tasks.embedders.protocol import Pending
from tasks.embedders.torch_device import device, finish, image_batch

if TYPE_CHECKING:
    from PIL.Image import Image


def load_timm(ref: EmbedderRef) -> Timm:
    """Build the model of `ref` from its folder, without its classifier."""
    where = device()
    model = timm.create_model(f"local-dir:{ref.folder}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    dtype = torch.bfloat16 if ref.precision == "bf16" else torch.float32
    return Timm(ref, model.eval().to(where, dtype), transform, where, dtype)


class Timm(BatchingEmbedder):
    """An image model's pooled features."""

    def __init__(
        self,
        ref: EmbedderRef,
        model: Any,
        transform: Any,
        where: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(ref)
        self.image_batch = image_batch(where)
        self.model = model
        self.transform = transform
        self._device = where
        self._dtype = dtype

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture through timm's inference transform: float32 `[3, h, w]`."""
        return self.transform(picture).numpy()

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """One batch of prepared pictures, computed at once: float32 `[n, d]`."""
        return done(halving(lambda part: self._image(pixels[part]), np.arange(len(pixels))))

    @torch.inference_mode()
    def _image(self, pixels: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(pixels).to(self._device, self._dtype)
        return finish(self.model(batch), self.ref)
