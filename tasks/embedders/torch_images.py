"""The image side of a torch embedder: files to 8-bit pixels, and pixels to vectors.

    file ─ decode ─ resize and crop on tensors → uint8 [3, h, w]
    batch of those ─ normalise ─ in the model's format ─ model → vectors

On a CPU each batch is computed by one thread and as many are under way as there are cores: no core
waits for another, and decoding threads beside them cost nobody a barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import done, halving
from tasks.embedders.protocol import Pending
from tasks.embedders.read_transform import Transform, read_transform
from tasks.embedders.torch_device import finished
from tasks.embedders.torch_lanes import lanes
from tasks.store.pictures import open_picture, open_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

CPU_BATCH = 8
"""Pictures in a batch on one core: ResNet-50 in bf16 takes 24 ms a picture at 4 to 8, 31 at 32,
where its activations no longer fit the caches; ViT-B/32 takes 25 ms from 4 to 32."""

ACCELERATOR_BATCH = 128

Encode = Callable[[torch.Tensor], torch.Tensor]
"""The image model: `[n, 3, h, w]` to `[n, full]`."""


class TorchImages:
    """Prepares pictures, and embeds them with `encode`, whose model is in `dtype` on `where`.

    `transform` holds the steps of `library_transform`, or is None where they could not be read.
    """

    def __init__(
        self,
        ref: EmbedderRef,
        encode: Encode,
        library_transform: Transform,
        where: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.library_transform = library_transform
        self.transform = read_transform(library_transform)
        self.batch = CPU_BATCH if where.type == "cpu" else ACCELERATOR_BATCH
        self._ref = ref
        self._encode = encode
        self._dtype = dtype
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        if self.transform is not None:
            scale, shift = map(torch.from_numpy, self.transform.scale_and_shift())
            self._scale, self._shift = scale.to(where), shift.to(where)

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture, to the bit as the library resizes it: uint8 `[3, h, w]`.

        Normalised float32 where the library's transform could not be read.
        """
        if self.transform is None:
            return self.library_transform(picture).numpy()
        return self.transform.of_picture(picture)

    def prepare_bytes(self, content: bytes) -> np.ndarray:
        """The picture in a file's bytes, decoded and resized on tensors where that is possible.

        Of the same type as `prepare_image` gives. Raises `PictureError`.
        """
        if self.transform is None:
            return self.library_transform(open_picture(content)).numpy()
        return self.transform.of_pixels(open_pixels(content))

    def submit(self, pixels: np.ndarray) -> Pending:
        """Begin one batch of prepared pictures: float32 `[n, d]`."""
        try:
            return self._lanes.submit(partial(self._vectors, pixels))
        except torch.OutOfMemoryError:
            pass  # outside the handler, which would keep the batch's tensors alive
        return done(halving(lambda rows: self._awaited(pixels[rows]), np.arange(len(pixels))))

    def _awaited(self, pixels: np.ndarray) -> np.ndarray:
        return self._lanes.submit(partial(self._vectors, pixels))()

    @torch.inference_mode()
    def _vectors(self, pixels: np.ndarray) -> torch.Tensor:
        batch = self._lanes.upload(pixels)
        if batch.dtype == torch.uint8:
            batch = batch.float().mul_(self._scale).add_(self._shift)
        return finished(self._encode(batch.to(self._dtype)), self._ref)
