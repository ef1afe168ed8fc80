"""Embed text with a sentence-transformers model: a transformer, or a static embedding.

Each is loaded by a module of its own, so that a static model, which needs neither, does not wait
for transformers and the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder
from tasks.embedders.model_folder import ModelFolder
from tasks.embedders.sentence_transformers_folder import list_modules
from tasks.embedders.static_text import StaticText, UnitLength


def load_sentence_transformers(ref: EmbedderRef) -> BatchingEmbedder:
    """Build the model of `ref` from its folder: safetensors only, no code of the model's own."""
    (first, place), *others = list_modules(ModelFolder(Path(ref.folder)))
    if first == "StaticEmbedding":
        return StaticText(ref, place.path, _tail(ref, [name for name, _ in others]))
    from tasks.embedders.transformer_text import load_transformer

    return load_transformer(ref)


def _tail(ref: EmbedderRef, names: Sequence[str]) -> Sequence[torch.nn.Module]:
    """What comes behind a static embedding; the library is asked only where it brings weights."""
    if set(names) <= {"Dropout"}:  # nothing, when nothing is trained
        return ()
    if set(names) <= {"Normalize", "Dropout"}:
        return (UnitLength(),)
    from tasks.embedders.transformer_text import load_library

    return list(load_library(ref, torch.device("cpu")))[1:]
