"""Texts and pictures that an exported model and its tokenizer are tried with before they count."""

from __future__ import annotations

import numpy as np

from tasks.embedders.batching import stack_pixels
from tasks.embedders.protocol import Embedder

PICTURES = 3
PICTURE_SHAPE = (96, 128, 3)

SAMPLES = (
    "Rain.",
    "The committee will meet again on Thursday to settle the budget for the coming year.",
    "Où se trouve la bibliothèque, s'il vous plaît ? Elle ferme à 18 h 30.",
    "山の上に古い城がある。 Ελληνικά και русский текст, مرحبا.",
    "price: $4,999.00 (incl. 19 % VAT) &amp; shipping -- see  https://example.org/a?b=c#d",
    "A long text is cut where the model's window ends, and both sides have to agree on it. " * 60,
)
"""Short, long, far too long, other scripts, spaces and entities: what tokenizers differ in."""


def sample_pixels(embedder: Embedder) -> np.ndarray:
    """Pictures of random pixels as the embedder prepares them: uint8 `[3, 3, h, w]`."""
    from PIL import Image

    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, PICTURE_SHAPE, np.uint8) for _ in range(PICTURES)]
    return stack_pixels([embedder.prepare_image(Image.fromarray(array)) for array in arrays])
