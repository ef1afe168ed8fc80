"""Embed text with sentence-transformers: its own modules, tokens padded batch by batch.

    texts ─ tokenise once ─ batches by length ─ model (the library's modules) → vectors

The library's `encode` tokenises each batch again and sorts by characters; here the same modules
get the same tokens, so that the vectors are the same (a test compares them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from tasks.embedders.batching import BatchingEmbedder, done, halving, refuse_empty
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import device, finish, token_budget

STATIC_TOKEN_BUDGET = 65_536
"""A lookup and a mean, without padding: small batches would only cost calls."""

PADDED = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""What a text transformer's tokenizer gives the model, and this module makes from flat tokens."""


def load_sentence_transformers(ref: EmbedderRef) -> BatchingEmbedder:
    """Build the model of `ref` from its folder: safetensors only, no code of the model's own."""
    where = device()
    with _quiet():
        model = SentenceTransformer(
            ref.folder,
            device=str(where),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    model.eval().float()
    kind = StaticText if math.isinf(model.max_seq_length or 0) else TransformerText
    return kind(ref, model, where)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and load report: what matters in it is checked here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


class _SentenceTransformersText(BatchingEmbedder):
    """What static and transformer models share."""

    def __init__(self, ref: EmbedderRef, model: SentenceTransformer, where: torch.device) -> None:
        super().__init__(ref)
        self.token_budget = token_budget(where)
        self.model = model
        self._device = where
        self._tokenizer_lock = Lock()  # the tokenizer keeps its truncation as state

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """One batch, computed at once: float32 `[len(rows), d]`."""
        return done(halving(lambda part: self._forward(tokens, part), rows))

    @torch.inference_mode()
    def _forward(self, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        features = {
            name: torch.from_numpy(value).to(self._device)
            if isinstance(value, np.ndarray)
            else value
            for name, value in self._features(tokens, rows).items()
        }
        vectors = self.model(features)["sentence_embedding"]
        return finish(vectors, self.ref)

    def _features(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        raise NotImplementedError

    def _with_prompt(self, texts: Sequence[str], query: bool) -> list[str]:
        refuse_empty(texts)
        prompt = self.ref.query_prompt if query else self.ref.prompt
        return [prompt + text for text in texts] if prompt else list(texts)


class TransformerText(_SentenceTransformersText):
    """A transformer with pooling and perhaps a head."""

    def __init__(self, ref: EmbedderRef, model: SentenceTransformer, where: torch.device) -> None:
        super().__init__(ref, model, where)
        self._refuse_missing_weights()
        if ref.precision == "bf16":
            model[0].to(torch.bfloat16)
            model[0].register_forward_hook(_pool_in_fp32)
        self._tokenizer = model.tokenizer
        limit = int(ref.config["max_length"])
        if limit < UNBOUNDED:
            model.max_seq_length = limit  # what the fingerprint says, whatever the library reads
        # What the library adds for each prompt besides the tokens, such as the prompt's length.
        self._extras = {
            query: self._extra_features(ref.query_prompt if query else ref.prompt)
            for query in (False, True)
        }

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length."""
        texts = self._with_prompt(texts, query)
        with self._tokenizer_lock:
            encoded = self._tokenizer(
                texts,
                truncation="longest_first",
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        return Tokens.from_lists(encoded["input_ids"], query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        with self._tokenizer_lock:
            encoded = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                truncation=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
        return Tokens.from_lists(encoded["input_ids"]).lengths.astype(np.int32)

    def _features(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        pad = self._tokenizer.pad_token_id or 0
        left = self._tokenizer.padding_side == "left"
        ids, real = tokens.padded(rows, pad, left)
        features = {**self._extras[tokens.query], "input_ids": ids, "attention_mask": real}
        if "token_type_ids" in features:
            features["token_type_ids"] = np.zeros_like(ids)
        return features

    def _refuse_missing_weights(self) -> None:
        """Raise where the file lacks a weight that counts: transformers would draw it at random.

        It marks the parameters that it has loaded. A pooler is missing from many models and takes
        no part in what comes out of the last layer.
        """
        inner = self.model[0].model
        missing = [
            name
            for name, parameter in inner.named_parameters()
            if not getattr(parameter, "_is_hf_initialized", False)
            and not name.startswith("pooler.")
        ]
        if missing:
            raise UsageError(
                f"embedder.model {self.ref.model!r}: its weights file lacks {len(missing)} tensors "
                f"of its architecture, among them {missing[0]!r}: fetch the model again"
            )

    def _extra_features(self, prompt: str) -> dict[str, Any]:
        """What the library's own preprocessing gives for one text, to fill in the tokens."""
        features = dict(self.model.preprocess(["a"], prompt=prompt or None))
        tensors = {name for name, value in features.items() if isinstance(value, torch.Tensor)}
        types = features.get("token_type_ids")
        if features.get("modality", "text") != "text":
            raise UsageError(
                f"embedder.model {self.ref.model!r} wraps its texts in a chat template, which "
                f"vecmill does not make; choose another model"
            )
        if tensors - PADDED or (types is not None and bool(types.any())):
            raise UsageError(
                f"embedder.model {self.ref.model!r} wants more than its tokens "
                f"({', '.join(sorted(tensors - PADDED)) or 'token types'}), which vecmill does not "
                f"make; choose another model"
            )
        return features


class StaticText(_SentenceTransformersText):
    """A static embedding: the mean of the tokens' vectors."""

    padded = False

    def __init__(self, ref: EmbedderRef, model: SentenceTransformer, where: torch.device) -> None:
        super().__init__(ref, model, where)
        self.token_budget = STATIC_TOKEN_BUDGET

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt; no special tokens, nothing cut."""
        return Tokens.from_lists(self._ids(self._with_prompt(texts, query)), query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text, without the prompt: int32 `[n]`."""
        return Tokens.from_lists(self._ids(list(texts))).lengths.astype(np.int32)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        with self._tokenizer_lock:
            encodings = self.model[0].tokenizer.encode_batch(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _features(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        ids, offsets = tokens.ragged(rows)
        return {"input_ids": ids, "offsets": offsets}


def _pool_in_fp32(_module: object, _inputs: object, features: dict[str, Any]) -> dict[str, Any]:
    """Pooling adds up hundreds of tokens: in bf16 it would lose more digits than the model does."""
    return {
        name: value.float()
        if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
        else value
        for name, value in features.items()
    }
