"""The word model of the build tests without its library, for processes that must start quickly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import tasks.embed.embed_shard
from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, done
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens


class WordEmbedder(BatchingEmbedder):
    """The mean of a text's words, of unit length."""

    token_budget = 65_536

    def __init__(self, ref: EmbedderRef) -> None:
        super().__init__(ref)
        weights = load_file(Path(ref.folder) / "model.safetensors")
        self.words = weights["embedding.weight"]

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        return Tokens.from_lists([[int(word[1:]) for word in text.split()] for text in texts])

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        ids, starts = tokens.ragged(rows)
        sums = np.add.reduceat(self.words[ids], starts, axis=0)
        return done(sums / np.linalg.norm(sums, axis=1, keepdims=True))


def use() -> None:
    """Embed with it in this process, whatever the spec says."""
    tasks.embed.embed_shard.load = WordEmbedder  # type: ignore[assignment]
