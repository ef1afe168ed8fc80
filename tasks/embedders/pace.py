"""How fast an embedder is, roughly: what the size of a shard depends on."""

from __future__ import annotations

from schemas.refs import EmbedderRef


def is_quick(ref: EmbedderRef) -> bool:
    """Whether it embeds thousands of passages a second: a static model, or one on an accelerator.

    Asking for the accelerator imports torch, which the engine would import next anyway.
    """
    static = (
        "text" in ref.kinds and ref.window is None
    )  # a mean of word vectors: text of any length
    if static or ref.engine != "torch":
        return static
    from tasks.embedders.torch_device import device

    return device().type != "cpu"
