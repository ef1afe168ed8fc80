"""How fast an embedder is, roughly: what the size of a shard depends on."""

from __future__ import annotations

from schemas.refs import EmbedderRef
from tasks.embedders.description import UNBOUNDED


def is_quick(ref: EmbedderRef) -> bool:
    """Whether it embeds thousands of passages a second: a static model, or one on an accelerator.

    Asking for the accelerator imports torch, which the engine would import next anyway.
    """
    if ref.window == UNBOUNDED:  # a mean of word vectors takes text of any length
        return True
    if ref.engine != "torch":
        return False
    from tasks.embedders.torch_device import device

    return device().type != "cpu"
