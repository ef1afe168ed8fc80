"""Embed pictures with a timm model: pooled features before the classifier, timm's own steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder
from tasks.embedders.protocol import Pending
from tasks.embedders.torch_device import device, dtype
from tasks.embedders.torch_images import TorchImages

if TYPE_CHECKING:
    from PIL.Image import Image


def load_timm(ref: EmbedderRef) -> Timm:
    """Build the model of `ref` from its folder, without its classifier."""
    where = device()
    model = timm.create_model(f"local-dir:{ref.folder}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    kind = dtype(ref, where)
    model = model.eval().to(where, kind, memory_format=torch.channels_last)
    return Timm(ref, model, transform, where, kind)


class Timm(BatchingEmbedder):
    """An image model's pooled features."""

    def __init__(
        self,
        ref: EmbedderRef,
        model: Any,
        transform: Any,
        where: torch.device,
        kind: torch.dtype,
    ) -> None:
        super().__init__(ref)
        self.model = model
        self.images = TorchImages(ref, model, model, transform, where, kind)
        self.in_flight = self.images.in_flight
        self.decodes_apart = self.images.decodes_apart

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
