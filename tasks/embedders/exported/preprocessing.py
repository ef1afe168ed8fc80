"""Pictures for an exported image model: the transform of the library that made it.

The library is imported when the first picture comes, without building its model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.refs import EmbedderRef
from tasks.embedders.exported.folder import ImageFacts

if TYPE_CHECKING:
    from PIL.Image import Image

Preparing = Callable[["Image"], np.ndarray]
"""An upright RGB picture to float32 `[3, h, w]`."""


def load_preparing(ref: EmbedderRef, facts: ImageFacts) -> Preparing:
    """What prepares one picture for the embedder of `ref`."""
    transform = TRANSFORMS[ref.kind](dict(facts.preprocessing))
    return lambda picture: transform(picture).numpy()


def _open_clip(config: dict[str, object]) -> Callable[[Image], Any]:
    import open_clip
    from open_clip.transform import PreprocessCfg

    return open_clip.image_transform_v2(PreprocessCfg(**config), is_train=False)


def _timm(config: dict[str, object]) -> Callable[[Image], Any]:
    import timm

    return timm.data.create_transform(**config, is_training=False)


TRANSFORMS: dict[str, Callable[[dict[str, object]], Callable[[Image], Any]]] = {
    "open-clip": _open_clip,
    "timm": _timm,
}
"""Kind → the inference transform from its config."""
