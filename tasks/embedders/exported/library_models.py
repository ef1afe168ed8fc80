"""The model of an embedder as its library builds it, in fp32 on the CPU: what is traced.

The torch engine's own form of it will not do: it may hold layers that only torch can compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import timm
import torch
from sentence_transformers import SentenceTransformer

from schemas.refs import EmbedderRef


def library_model(ref: EmbedderRef) -> Any:
    """The library's model in the folder of `ref`, ready to infer: safetensors, no code of its own.

    That its weights are whole is seen where the torch engine loads it, before.
    """
    return MODELS[ref.kind](ref).eval().float()


def _sentence_transformers(ref: EmbedderRef) -> torch.nn.Module:
    return SentenceTransformer(
        ref.folder,
        device="cpu",
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
    )


def _open_clip(ref: EmbedderRef) -> torch.nn.Module:
    model, _ = open_clip.create_model_from_pretrained(
        f"local-dir:{ref.folder}", precision="fp32", device="cpu", weights_only=True
    )
    return model


def _timm(ref: EmbedderRef) -> torch.nn.Module:
    return timm.create_model(f"local-dir:{ref.folder}", pretrained=True, num_classes=0)


MODELS: dict[str, Callable[[EmbedderRef], torch.nn.Module]] = {
    "sentence-transformers": _sentence_transformers,
    "open-clip": _open_clip,
    "timm": _timm,
}
