"""Where torch computes, in which number format, and how a batch's vectors leave it."""

from __future__ import annotations

import numpy as np
import torch

from schemas.errors import UsageError, VecmillError
from schemas.refs import EmbedderRef

CPU_TOKEN_BUDGET = 1_024
"""Padded tokens in a batch on a CPU: 512 to 2,048 measured alike, 1.35 times `encode` by CPU."""

ACCELERATOR_TOKEN_BUDGET = 32_768
"""On a GPU: large enough to fill one, small enough for 16 GB with a base model. Not tuned yet."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> torch.device:
    """The best device of this machine: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def token_budget(where: torch.device) -> int:
    """Padded tokens in a batch on that device."""
    return CPU_TOKEN_BUDGET if where.type == "cpu" else ACCELERATOR_TOKEN_BUDGET


def dtype(ref: EmbedderRef, where: torch.device) -> torch.dtype:
    """The number format that the model computes in.

    Raises `UsageError` for fp16 on a CPU.
    """
    if ref.precision == "fp16" and where.type == "cpu":
        raise UsageError(
            "embedder.precision fp16 needs a GPU, and none is found here: on a CPU torch computes "
            "fp16 several times slower than bf16, which takes as little memory. Set "
            "embedder.precision to bf16 or fp32"
        )
    return DTYPES[ref.precision]


def finished(vectors: torch.Tensor, ref: EmbedderRef) -> torch.Tensor:
    """A batch's vectors as they are kept: float32, truncated, then brought to unit length.

    `vectors` is `[n, full]` of any float type; returns float32 `[n, ref.dimensions]` on the same
    device. Raises `VecmillError` when the model is not as wide as its folder said.
    """
    width = vectors.shape[1] if vectors.ndim == 2 else 0
    if width < ref.dimensions or (ref.truncate is None and width != ref.dimensions):
        raise VecmillError(
            f"embedder {ref.model!r} gave vectors of shape {tuple(vectors.shape)}, its folder said "
            f"{ref.dimensions} dimensions: the model's config does not fit its weights; "
            f"save the model again with the library that made it"
        )
    vectors = vectors.float()[:, : ref.dimensions]
    if ref.normalize:
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors


def finish(vectors: torch.Tensor, ref: EmbedderRef) -> np.ndarray:
    """`finished` vectors as NumPy has them: float32 `[n, ref.dimensions]`."""
    return finished(vectors, ref).cpu().numpy()
