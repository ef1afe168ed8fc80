"""Tokens for an exported text model: from the tokenizer that was kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from schemas.refs import EmbedderRef
from tasks.embedders.exported.clip_tokenizer import ClipTokenizer
from tasks.embedders.exported.folder import TextFacts
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.tokens import Tokens


class Tokenizing(Protocol):
    """The part of an embedder that turns texts into tokens."""

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length."""
        ...

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        ...


def load_tokenizing(ref: EmbedderRef, folder: Path, facts: TextFacts) -> Tokenizing:
    """The tokenizer of the export in `folder`."""
    content = (folder / facts.tokenizer).read_text(encoding="utf-8")
    if facts.clip is not None:
        return ClipTokenizer(content, facts.clip, prompt=ref.prompt, query_prompt=ref.query_prompt)
    return FastTokenizer(
        content,
        prompt=ref.prompt,
        query_prompt=ref.query_prompt,
        max_length=facts.max_length,
        special=True,
    )
