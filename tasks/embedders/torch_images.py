"""The image side of a torch embedder: files to 8-bit pixels, and pixels to vectors.

    file ─ decode ─ resize and crop on tensors → uint8 [3, h, w]
    batch of those ─ normalise ─ in the model's format ─ model → vectors

On a CPU each batch is computed by one thread and as many are under way as there are cores: no core
waits for another, and decoding threads beside them cost nobody a barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.budget import TokenBudget
from tasks.embedders.prepacked import prepack_proven
from tasks.embedders.protocol import Pending
from tasks.embedders.read_transform import Transform, read_transform
from tasks.embedders.torch_device import device_name, finished, in_parts
from tasks.embedders.torch_lanes import lanes
from tasks.store.pictures import open_picture, open_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

CPU_BATCH = 8
"""Pictures in a batch on one core: ResNet-50 in bf16 takes 24 ms a picture at 4 to 8, 31 at 32,
where its activations no longer fit the caches; ViT-B/32 takes 25 ms from 4 to 32."""

ACCELERATOR_BATCH = 128

PROBES = 2
"""Pictures that prove that a model computes the same once its weights are laid out."""

Encode = Callable[[torch.Tensor], torch.Tensor]
"""The image model: `[n, 3, h, w]` to `[n, full]`."""


class TorchImages:
    """Prepares pictures, and embeds them with `encode`, which computes `model` in `kind`.

    `transform` holds the steps of `library_transform`, or is None where they could not be read. The
    model is left as it was loaded up to the first batch.
    """

    def __init__(
        self,
        ref: EmbedderRef,
        model: torch.nn.Module,
        encode: Encode,
        library_transform: Transform,
        where: torch.device,
        kind: torch.dtype,
    ) -> None:
        self.library_transform = library_transform
        self.transform = read_transform(library_transform)
        self.decodes_apart = None if where.type == "cpu" else self.transform
        self._ref = ref
        self._model = model
        self._encode = encode
        self._where = where
        self._kind = kind
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        batch = CPU_BATCH if where.type == "cpu" else ACCELERATOR_BATCH
        self._batch = TokenBudget(ref, f"{device_name(where)}-pictures", batch)
        self._ready = False
        self._getting_ready = Lock()
        if self.transform is not None:
            scale, shift = map(torch.from_numpy, self.transform.scale_and_shift())
            self._scale, self._shift = scale.to(where), shift.to(where)

    @property
    def batch(self) -> int:
        """Pictures in a batch; fewer once so many ran out of memory."""
        return self._batch.tokens

    @batch.setter
    def batch(self, pictures: int) -> None:
        self._batch.fix(pictures)

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
        self._get_ready(pixels)
        rows = np.arange(len(pixels))
        return self._lanes.submit(
            lambda: in_parts(
                lambda part: self._vectors(pixels[part[0] : part[-1] + 1]),
                rows,
                lambda failed: self._batch.lower(len(failed)),
            )
        )

    @torch.inference_mode()
    def _vectors(self, pixels: np.ndarray) -> torch.Tensor:
        batch = self._lanes.upload(pixels)
        if batch.dtype == torch.uint8:
            batch = batch.float().mul_(self._scale).add_(self._shift)
        return finished(self._encode(batch.to(self._kind)), self._ref)

    def _get_ready(self, pixels: np.ndarray) -> None:
        """Lay the weights out for this CPU, when the first picture comes."""
        if self._ready or self._where.type != "cpu":
            return
        with self._getting_ready:
            if not self._ready:
                noise = np.random.default_rng(0).integers(0, 256, (PROBES, *pixels.shape[1:]))
                probe = noise.astype(np.uint8) if pixels.dtype == np.uint8 else pixels[:PROBES]
                prepack_proven(self._model, lambda: self._vectors(probe))
                self._ready = True
