"""Embed text with a static model: the mean of the tokens' vectors, from two files.

    tokenizer.json ─ tokens ─┐
    model.safetensors ───────┴ embedding_bag (mean) ─ what the model's folder adds → vectors

The library is not needed for that, and its import would cost more than a small corpus; it is
loaded only for models whose static embedding is followed by layers of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import device, finished
from tasks.embedders.torch_lanes import lanes

STATIC_TOKEN_BUDGET = 65_536
"""A lookup and a mean, without padding: small batches would only cost calls."""


class StaticText(BatchingEmbedder):
    """A static embedding: the mean of the tokens' vectors.

    `folder` holds the static embedding's files; `tail` is what comes after it, if anything does.
    It is exact in every precision: there is nothing to gain from another than float32.
    """

    def __init__(
        self, ref: EmbedderRef, folder: Path, tail: Sequence[torch.nn.Module] = ()
    ) -> None:
        super().__init__(ref)
        where = device()
        self.token_budget = STATIC_TOKEN_BUDGET
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        self._table = _table(folder / "model.safetensors").float().to(where)
        self._tail = [module.eval().float().to(where) for module in tail]
        self._tokenizer = FastTokenizer(
            (folder / "tokenizer.json").read_text(),
            prompt=ref.prompt,
            query_prompt=ref.query_prompt,
            max_length=UNBOUNDED,
            special=False,
        )

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt; no special tokens, nothing cut."""
        return self._tokenizer.tokenize(texts, query=query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text, without the prompt: int32 `[n]`."""
        return self._tokenizer.token_counts(texts)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: float32 `[len(rows), d]`."""
        return self._lanes.submit(lambda: self._vectors(tokens, rows))

    @torch.inference_mode()
    def _vectors(self, tokens: Tokens, rows: np.ndarray) -> torch.Tensor:
        ids, starts = (self._lanes.upload(part) for part in tokens.ragged(rows))
        vectors = torch.nn.functional.embedding_bag(ids, self._table, starts, mode="mean")
        features = {"sentence_embedding": vectors}
        for module in self._tail:
            features = module(features)
        return finished(features["sentence_embedding"], self.ref)


class UnitLength(torch.nn.Module):
    """The library's module Normalize: vectors of unit length, before any truncation."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`sentence_embedding` `[n, d]`, each row divided by its length."""
        vectors = torch.nn.functional.normalize(features["sentence_embedding"], dim=1)
        return {**features, "sentence_embedding": vectors}


def _table(weights: Path) -> torch.Tensor:
    """A vector for each token id: `[vocabulary, d]`.

    model2vec keeps one for several ids (`mapping`) and a weight for each id beside it.
    """
    tensors = load_file(weights)
    if "embedding.weight" in tensors:
        return tensors["embedding.weight"]
    if "embeddings" not in tensors:
        raise UsageError(
            f"embedder.model: {weights} holds {', '.join(sorted(tensors))}; a static embedding "
            f"keeps its vectors as embedding.weight or embeddings. Fetch the model again"
        )
    table = tensors["embeddings"]
    if "mapping" in tensors:
        table = table[tensors["mapping"].long()]
    if "weights" in tensors:
        table = table.float() * tensors["weights"][:, None]
    return table
