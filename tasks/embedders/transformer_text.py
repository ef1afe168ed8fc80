"""Embed text with a transformer: sentence-transformers' own modules, fed batch by batch.

    texts ─ tokenise once ─ batches by length ─ packed or padded ─ lanes ─ model → vectors

The library's `encode` tokenises each batch again and sorts by characters; here the same modules
get the same tokens, so that the vectors are the same (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from tasks.embedders import packed
from tasks.embedders.batching import BatchingEmbedder, refuse_empty
from tasks.embedders.budget import TokenBudget
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.parallel_tokenizer import ParallelTokenizer
from tasks.embedders.prepacked import prepack_proven
from tasks.embedders.protocol import Pending
from tasks.embedders.tokens import Tokens
from tasks.embedders.torch_device import (
    budgets,
    device,
    device_name,
    dtype,
    finished,
    in_parts,
    shortest_batch,
    token_budget,
)
from tasks.embedders.torch_lanes import lanes

PADDED = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""What a text transformer's tokenizer gives the model, and this module makes from flat tokens."""

PROBES = (
    "One short sentence.",
    "A second text, a good deal longer than the first, so that padding would be needed.",
    "Two equally long texts",
    "Two equally long lines",
)
"""What other layouts are tried out on: texts of several lengths, and two of one."""

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-4, torch.float16: 2e-4}
"""1 − cos between a model's vectors computed in two ways: several times the rounding of that number
format."""

TRIAL_LENGTH = 64
"""Tokens of a text in a trial of budgets: passages of news and documentation have 55 to 90."""


def load_transformer(ref: EmbedderRef) -> TransformerText:
    """Build the model of `ref` from its folder: safetensors only, no code of the model's own."""
    where = device()
    kind = dtype(ref, where)  # refuses before the model is read
    return TransformerText(ref, load_library(ref, where), where, kind)


def load_library(ref: EmbedderRef, where: torch.device) -> SentenceTransformer:
    """The library's model of `ref` in float32, ready to infer: safetensors, no code of its own."""
    with _quiet():
        model = SentenceTransformer(
            ref.folder,
            device=str(where),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    return model.eval().float()


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


class TransformerText(BatchingEmbedder):
    """A transformer with pooling and perhaps a head.

    `packed` says whether its batches go without padding.
    """

    def __init__(
        self, ref: EmbedderRef, model: SentenceTransformer, where: torch.device, kind: torch.dtype
    ) -> None:
        super().__init__(ref)
        self.model = model
        self.packed = False
        self._device = where
        self._refuse_missing_weights()
        limit = int(ref.config["max_length"])
        if limit < UNBOUNDED:
            model.max_seq_length = limit  # what the fingerprint says, whatever the library reads
        # What the library adds for each prompt besides the tokens, such as the prompt's length.
        self._extras = {
            query: self._extra_features(ref.query_prompt if query else ref.prompt)
            for query in (False, True)
        }
        self._pad = model.tokenizer.pad_token_id or 0
        self._pad_left = model.tokenizer.padding_side == "left"
        self._tokenizer = _tokenizer(ref, model.tokenizer, where)
        self.tokenizes_ahead = where.type != "cpu"
        self._lanes = lanes(where)
        self.in_flight = self._lanes.in_flight
        self._budget = TokenBudget(
            ref, device_name(where), token_budget(where), budgets(where), shortest_batch(where)
        )
        self._prepare(kind)

    def _prepare(self, kind: torch.dtype) -> None:
        """Bring the transformer into its number format, and find the quickest way through it."""
        transformer = self.model[0]
        if kind != torch.float32:
            transformer.to(kind)
            transformer.register_forward_hook(_pool_in_fp32)
        self._first = 0
        if self._device.type == "cpu":
            prepack_proven(transformer, lambda: torch.from_numpy(self._probe()), TOLERANCE[kind])
        if packed.can_pack(transformer.model, kind, self._device):
            self._first = packed.first_position(transformer.model)
            self._try_packed(TOLERANCE[kind])

    def _try_packed(self, tolerance: float) -> None:
        """Pack from now on if that gives the vectors that padding gives.

        A model of a known type may still have options that packing does not know; then it raises
        or differs, and padding, which the library itself does, stays.
        """
        config = self.model[0].model.config
        expected = self._probe()
        before = config._attn_implementation
        try:
            self._pack(packed.ATTENTION)
            apart = 1 - (self._probe() * expected).sum(axis=1)
            if (apart <= tolerance).all():
                return
        except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError):
            pass  # not packable: no reason to fail, the padded way works
        self._pack(before)

    def _probe(self) -> np.ndarray:
        """The probes' vectors at unit length, computed where batches are: float32 `[n, d]`."""
        tokens, rows = self.tokenize(PROBES), np.arange(len(PROBES))
        vectors = self._lanes.submit(partial(self._vectors, tokens, rows))()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _pack(self, attention: str) -> None:
        self.model[0].model.config._attn_implementation = attention
        self.packed = attention == packed.ATTENTION
        self.padded = not self.packed

    @property
    def token_budget(self) -> int:  # type: ignore[bad-override]  # it may change
        """Padded tokens in a batch; measured once enough was embedded to be worth it."""
        if self._budget.due:
            self._budget.measure(self._trial)
        return self._budget.tokens

    @token_budget.setter
    def token_budget(self, tokens: int) -> None:
        self._budget.fix(tokens)

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length."""
        return self._tokenizer.tokenize(texts, query=query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        return self._tokenizer.token_counts(texts)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Pending:
        """Begin one batch: float32 `[len(rows), d]`."""
        lengths = tokens.lengths[rows]
        self._budget.count(int(lengths.sum()))
        return self._lanes.submit(
            lambda: in_parts(
                partial(self._vectors, tokens),
                rows,
                lambda failed: self._budget.lower(len(failed) * int(tokens.lengths[failed].max())),
            )
        )

    @torch.inference_mode()
    def _vectors(self, tokens: Tokens, rows: np.ndarray) -> torch.Tensor:
        """The vectors of one batch, on the device: float32 `[len(rows), d]`."""
        make = self._packed_features if self.packed else self._padded_features
        return finished(self.model(make(tokens, rows))["sentence_embedding"], self.ref)

    def _packed_features(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        flat, longest = packed.layout(tokens, rows)
        features = packed.features(self._lanes.upload(flat), len(rows), longest, self._first)
        extras = {k: v for k, v in self._extras[tokens.query].items() if k not in PADDED}
        if "token_type_ids" in self._extras[tokens.query]:
            extras["token_type_ids"] = torch.zeros_like(features["input_ids"])
        return {**extras, **features}

    def _padded_features(self, tokens: Tokens, rows: np.ndarray) -> dict[str, Any]:
        ids, real = (
            self._lanes.upload(part) for part in tokens.padded(rows, self._pad, self._pad_left)
        )
        features = {**self._extras[tokens.query], "input_ids": ids, "attention_mask": real}
        if "token_type_ids" in features:
            features["token_type_ids"] = torch.zeros_like(ids)
        return features

    def _trial(self, budget: int) -> int:
        """Embed as many batches of that budget as run beside each other; gives their tokens.

        0 where they do not fit into memory.
        """
        length = min(TRIAL_LENGTH, int(self.ref.config["max_length"]))
        texts = max(1, budget // length)
        known = self.tokenize(PROBES).ids
        tokens = Tokens.from_matrix(np.resize(known, (texts, length)))
        batch = partial(self._vectors, tokens, np.arange(texts))
        many = max(1, self.in_flight - 1)
        try:
            for pending in [self._lanes.submit(batch) for _ in range(many)]:
                pending()
        except torch.OutOfMemoryError:
            return 0
        return many * texts * length

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


def _tokenizer(
    ref: EmbedderRef, library: Any, where: torch.device
) -> FastTokenizer | LibraryTokenizer:
    """The library's tokenizer without its Python where that gives the same tokens.

    An accelerator is faster than one process can tokenise.
    """
    if not library.is_fast or library.truncation_side != "right":
        return LibraryTokenizer(ref, library)
    kind = FastTokenizer if where.type == "cpu" else ParallelTokenizer
    return kind(
        library.backend_tokenizer.to_str(),  # with all that the library changed in it
        prompt=ref.prompt,
        query_prompt=ref.query_prompt,
        max_length=min(int(ref.config["max_length"]), library.model_max_length),
        special=True,
    )


class LibraryTokenizer:
    """A tokenizer that only the library can run: one text at a time in Python, or cut on the left.

    It keeps its truncation as state, hence the lock.
    """

    def __init__(self, ref: EmbedderRef, library: Any) -> None:
        self._library = library
        self._prompts = {False: ref.prompt, True: ref.query_prompt}
        self._lock = Lock()

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length."""
        refuse_empty(texts)
        prompt = self._prompts[query]
        behind = [prompt + text for text in texts]
        return Tokens.from_lists(self._ids(behind, truncation="longest_first"), query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        ids = self._ids(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return Tokens.from_lists(ids).lengths.astype(np.int32)

    def _ids(self, texts: list[str], **options: Any) -> list[list[int]]:
        with self._lock:
            encoded = self._library(
                texts,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                **options,
            )
        return encoded["input_ids"]


def _pool_in_fp32(_module: object, _inputs: object, features: dict[str, Any]) -> dict[str, Any]:
    """Pooling adds up hundreds of tokens: in half precision it would lose digits of its own."""
    half = (torch.bfloat16, torch.float16)
    return {
        name: value.float() if isinstance(value, torch.Tensor) and value.dtype in half else value
        for name, value in features.items()
    }
