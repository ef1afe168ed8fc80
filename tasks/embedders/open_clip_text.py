"""The text tower of an open_clip model, without the padding to its context length where it can.

CLIP reads a text up to its end token, and no token sees those behind it (causal attention): the
padding that follows, four fifths of a caption's 77 places, changes nothing. Whether that holds for
a model is tried out when it is loaded; others get their texts as open_clip pads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transformer import text_global_pool

from schemas.refs import EmbedderRef
from tasks.embedders.batching import refuse_empty
from tasks.embedders.budget import TokenBudget
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import finished, in_parts
from tasks.embedders.torch_lanes import Lanes

PROBES = ("a photo of a dog", "two red circles above a blue square, and nothing else at all", "b")

SAME = 2e-4
"""1 − cos between the vectors of texts with and without padding: what half precision rounds."""


class OpenClipText:
    """Tokenises and embeds the texts of an open_clip model."""

    def __init__(
        self, ref: EmbedderRef, model: Any, tokenizer: Any, where: Lanes, budget: TokenBudget
    ) -> None:
        self._ref = ref
        self._model = model
        self._tokenizer = tokenizer
        self._lock = Lock()  # tokenizers keep truncation and caches as state
        self._lanes = where
        self._budget = budget
        self._encode = model.encode_text
        self._end = _end_token(model)
        self.trimmed = self._end is not None and self._try_trimmed()

    def tokenize(self, texts: Sequence[str], query: bool) -> Tokens:
        """The texts behind their prompt, cut to the context length; padded to it unless trimmed."""
        refuse_empty(texts)
        prompt = self._ref.query_prompt if query else self._ref.prompt
        with self._lock:
            matrix = self._tokenizer([prompt + text for text in texts]).numpy()
        return _until_end(matrix, self._end, query) if self.trimmed else _whole(matrix, query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        with self._lock:
            inner = getattr(self._tokenizer, "tokenizer", None)
            if inner is None:
                lists = [self._tokenizer.encode(text) for text in texts]
            else:
                lists = inner(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return Tokens.from_lists(lists).lengths.astype(np.int32)

    def submit(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: float32 `[len(rows), d]`."""
        return self._lanes.submit(
            lambda: in_parts(
                lambda part: self._vectors(tokens, part),
                rows,
                lambda failed: self._budget.lower(len(failed) * int(tokens.lengths[failed].max())),
            )
        )

    @torch.inference_mode()
    def _vectors(self, tokens: Tokens, rows: np.ndarray) -> torch.Tensor:
        ids = self._lanes.upload(tokens.padded(rows)[0])
        return finished(self._encode(ids), self._ref)

    def _try_trimmed(self) -> bool:
        """Whether texts without padding get the vectors of padded ones; they do from now on."""
        with self._lock:
            matrix = self._tokenizer(list(PROBES)).numpy()
        rows = np.arange(len(PROBES))
        expected = self.submit(_whole(matrix), rows)()
        self._encode = self._encode_trimmed
        try:
            apart = self.submit(_until_end(matrix, self._end), rows)() - expected
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            apart = np.array([[np.inf]])  # a tower that is built otherwise
        # For vectors of unit length half the squared distance is 1 − cos.
        scale = (expected**2).sum(axis=1)
        if ((apart**2).sum(axis=1) <= 2 * SAME * scale).all():
            return True
        self._encode = self._model.encode_text
        return False

    def _encode_trimmed(self, ids: torch.Tensor) -> torch.Tensor:
        """CLIP's `encode_text` for fewer places than the context length: `[n, d]`."""
        model, places = self._model, ids.shape[1]
        kind = model.transformer.get_cast_dtype()
        hidden = model.token_embedding(ids).to(kind) + model.positional_embedding[:places].to(kind)
        hidden = model.transformer(hidden, attn_mask=model.attn_mask[:places, :places])
        hidden = model.ln_final(hidden)
        end = getattr(model, "text_eos_id", None)
        pooled = text_global_pool(hidden, ids, model.text_pool_type, eos_token_id=end)
        if isinstance(model.text_projection, torch.nn.Linear):
            return model.text_projection(pooled)
        return pooled if model.text_projection is None else pooled @ model.text_projection


def _end_token(model: Any) -> int | None:
    """The token whose place is pooled; -1: the highest in each text; None: some other pooling."""
    if not isinstance(model, open_clip.CLIP) or model.attn_mask is None:
        return None
    if model.text_pool_type == "eos":
        return getattr(model, "text_eos_id", None)
    return -1 if model.text_pool_type == "argmax" else None


def _until_end(matrix: np.ndarray, end: int | None, query: bool = False) -> Tokens:
    """The texts up to their end token, of padded ones: int `[n, context]`."""
    last = matrix.argmax(axis=1) if end == -1 else (matrix == end).argmax(axis=1)
    found = matrix.max(axis=1) > 0 if end == -1 else (matrix == end).any(axis=1)
    lengths = np.where(found, last + 1, matrix.shape[1])
    real = np.arange(matrix.shape[1]) < lengths[:, None]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Tokens(matrix[real].astype(np.int32), offsets, query)


def _whole(matrix: np.ndarray, query: bool = False) -> Tokens:
    return Tokens.from_matrix(matrix, query)
