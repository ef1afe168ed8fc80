"""What every embedder does, whichever library loads it: prepare, then embed a batch.

Preparing (tokenise, decode, resize) is apart from embedding, so that a stage can do it ahead of
the model and count what it does. Numeric code is array in, array out; order is kept throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef
from tasks.embedders.tokens import Tokens

if TYPE_CHECKING:
    from PIL.Image import Image

    from tasks.embedders.image_transform import ImageTransform


Pending = Callable[[], np.ndarray]
"""A batch under way: call it once for its vectors, float32 `[n, d]`; it raises what went wrong."""


@runtime_checkable
class Embedder(Protocol):
    """A loaded model. Safe to use from several threads.

    Methods of a kind (text, image) that is not in `ref.kinds` raise `UsageError`.
    """

    ref: EmbedderRef
    token_budget: int  # padded tokens in a batch
    image_batch: int  # pictures in a batch
    in_flight: int  # batches that are computed at once where they are submitted one after another
    padded: bool  # whether the texts of a batch are filled up to the longest
    tokenizes_ahead: bool  # whether it would wait for a tokenizer that is not ahead of it
    decodes_apart: ImageTransform | None  # `prepare_bytes` for other processes, where it would wait

    @property
    def dimensions(self) -> int:
        """The width of the vectors."""
        ...

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts as the model receives them: behind the prompt, cut at the maximum length.

        Raises `UsageError` for an empty text: it would become a vector that means nothing.
        """
        ...

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: the texts at `rows` (int64) of `tokens`."""
        ...

    def embed_tokens(self, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        """One batch, begun and awaited: float32 `[len(rows), d]`."""
        ...

    def prepare_image(self, picture: Image) -> np.ndarray:
        """An upright RGB picture, resized and cropped: `[3, h, w]`, as `submit_pixels` takes it."""
        ...

    def prepare_bytes(self, content: bytes) -> np.ndarray:
        """The picture in an image file's bytes, prepared the quickest way: as `prepare_image`.

        Raises `PictureError` where there is none.
        """
        ...

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        """Begin one batch of prepared pictures `[n, 3, h, w]`.

        uint8 is normalised on the way to the model; float32 has been normalised already.
        """
        ...

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """One batch of prepared pictures, begun and awaited: float32 `[n, d]`."""
        ...

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        ...

    def embed_texts(
        self, texts: Sequence[str], *, query: bool = False, progress: Progress = SILENT
    ) -> np.ndarray:
        """Texts to float32 `[n, d]`, in the order given, batched under the token budget."""
        ...

    def embed_images(self, pictures: Sequence[Image], progress: Progress = SILENT) -> np.ndarray:
        """Upright RGB pictures to float32 `[n, d]`, in the order given."""
        ...
