"""The word model of the build tests without its library, for processes that must start quickly."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import tasks.embed.embed_shard
from schemas.progress import SILENT, Progress
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.embedders.batching import BatchingEmbedder, done
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens

DIES_AT = "MADE_EMBEDDER_DIES"
"""Variable with the path of a mark file: the worker of shard 1 is killed unless that is there."""


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


def embed_shard(shard: Shard, *arguments: Any, progress: Progress = SILENT) -> ShardResult:
    """`embed_shard` with it; in a worker that is to die, until the mark file is there, it does."""
    use()
    mark = os.environ.get(DIES_AT)
    if mark and shard.index == 1 and not Path(mark).exists():
        Path(mark).write_text(str(os.getpid()))
        progress.advance(1)
        os.kill(os.getpid(), signal.SIGKILL)
    return tasks.embed.embed_shard.embed_shard(shard, *arguments, progress=progress)


def die(*_: Any, progress: Progress) -> None:
    """End this process as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
