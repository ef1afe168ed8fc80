"""The towers of a library's model as modules that can be traced: arrays in, vectors out.

    text    ids, mask[, pooled] → transformer → pooling → head → float32 [n, full]
    image   pixels → normalised → image tower                  → float32 [n, full]

What decides a vector besides the arrays (the library's extra features for a prompt) is worked out
here once, or the model is refused. Whether the trace is right for other sizes than its example's is
not seen here: the exported model is compared with the torch engine afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from schemas.refs import EmbedderRef
from tasks.embedders.exported.clip_tokenizer import ClipTokenizer
from tasks.embedders.exported.clip_vocabulary import converted
from tasks.embedders.exported.embedder import channels_last
from tasks.embedders.exported.folder import TOKENIZER, TextFacts
from tasks.embedders.exported.samples import SAMPLES
from tasks.embedders.image_transform import ImageTransform

NON_TENSORS = frozenset({"prompt_length", "modality"})
"""What the library's preprocessing gives besides tensors and is known here."""

EXAMPLE_ROWS, EXAMPLE_TOKENS = 3, 16
"""Of the example that is traced: neither 1, which tracing would take for a constant."""


class NotExportableError(Exception):
    """This model cannot be exported; the message is the reason."""


@dataclass(frozen=True)
class Tower:
    """One model to convert: `names` of its inputs and `example` for them.

    `dynamic`: for each input, the axes that differ from batch to batch.
    """

    module: torch.nn.Module
    names: tuple[str, ...]
    example: tuple[torch.Tensor, ...]
    dynamic: tuple[dict[int, str], ...]


@dataclass(frozen=True)
class TextTower:
    """A text tower, what the runtime has to know of it, and its tokenizer's JSON."""

    tower: Tower
    facts: TextFacts
    tokenizer: str


class _SentenceModules(torch.nn.Module):
    """The modules of a SentenceTransformer one after the other, on padded tokens."""

    def __init__(self, modules: list[torch.nn.Module], types: bool, excludes: bool) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)
        self.types = types
        self.excludes = excludes

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, pooled: torch.Tensor | None = None
    ) -> torch.Tensor:
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self.types:
            features["token_type_ids"] = torch.zeros_like(ids)
        features = self.parts[0](features)
        if self.excludes and pooled is not None:
            features["attention_mask"] = pooled
        for part in list(self.parts)[1:]:
            features = part(features)
        return features["sentence_embedding"].float()


class _Words(torch.nn.Module):
    """The text tower of an open_clip model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(ids).float()


class _Pictures(torch.nn.Module):
    """The image tower of an open_clip or timm model behind its normalisation.

    Takes 8-bit pixels with the channels last, `[n, h, w, 3]`, as decoders write them.
    """

    def __init__(self, model: Any, transform: ImageTransform) -> None:
        super().__init__()
        self.model = model
        scale, shift = transform.scale_and_shift()
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("shift", torch.from_numpy(shift))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        values = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        encode = getattr(self.model, "encode_image", self.model)
        return encode(values).float()


def sentence_tower(model: Any, ref: EmbedderRef) -> TextTower:
    """The text tower of a SentenceTransformer.

    Raises `NotExportableError` for one without a transformer, or that wants more than its tokens.
    """
    parts: list[Any] = list(model)
    if type(parts[0]).__name__ != "Transformer":
        raise NotExportableError("it has no transformer: a table of word vectors gains nothing")
    extras = [_extras(model, prompt) for prompt in (ref.prompt, ref.query_prompt)]
    lengths = (extras[0].get("prompt_length", 0), extras[1].get("prompt_length", 0))
    excludes = any(lengths) and any(
        getattr(part, "include_prompt", True) is False for part in parts
    )
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise NotExportableError("its tokenizer works with the transformers library alone")
    names = ("ids", "mask", "pooled") if excludes else ("ids", "mask")
    module = _SentenceModules(parts, "token_type_ids" in extras[0], excludes)
    facts = TextFacts(
        file="",
        tokenizer=TOKENIZER,
        max_length=int(ref.config["max_length"]),
        pad=tokenizer.pad_token_id or 0,
        left=tokenizer.padding_side == "left",
        excluded=(int(lengths[0]), int(lengths[1])) if excludes else None,
    )
    return TextTower(_token_tower(module, names, facts), facts, backend.to_str())


def _extras(model: Any, prompt: str) -> dict[str, Any]:
    """What the library's own preprocessing adds to the tokens of one text behind `prompt`."""
    features = dict(model.preprocess(["a"], prompt=prompt or None))
    unknown = {
        name
        for name, value in features.items()
        if not isinstance(value, torch.Tensor) and name not in NON_TENSORS
    }
    if unknown:
        raise NotExportableError(f"its modules want {', '.join(sorted(unknown))}")
    return features


@contextmanager
def plain_attention() -> Iterator[None]:
    """Trace torch's attention module as single steps: its fused kernel is no engine's operation."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _token_tower(module: torch.nn.Module, names: tuple[str, ...], facts: TextFacts) -> Tower:
    """With an example of three texts, one of them shorter: its padding has to be traced."""
    ids = torch.ones(EXAMPLE_ROWS, EXAMPLE_TOKENS, dtype=torch.int64)
    mask = torch.ones_like(ids)
    short = slice(0, EXAMPLE_TOKENS // 2) if facts.left else slice(EXAMPLE_TOKENS // 2, None)
    mask[0, short] = 0
    ids[0, short] = facts.pad
    axes = {0: "rows", 1: "width"}
    example = (ids, *[mask.clone() for _ in names[1:]])
    return Tower(module.eval(), names, example, tuple(axes for _ in names))


def clip_text_tower(model: Any, ref: EmbedderRef) -> TextTower:
    """The text tower of an open_clip model: ids of one fixed width, no mask."""
    width = int(ref.config["max_length"])
    made = converted(ref.folder, width, list(SAMPLES))
    if made is None:
        raise NotExportableError("its tokenizer works with the open_clip library alone")
    tokenizer, clip = made
    facts = TextFacts(file="", tokenizer=TOKENIZER, max_length=width, clip=clip)
    ours = ClipTokenizer(tokenizer, clip, prompt="", query_prompt="")
    ids = ours.tokenize(SAMPLES[:EXAMPLE_ROWS]).ids.reshape(EXAMPLE_ROWS, width)
    example = (torch.from_numpy(ids.astype(np.int64)),)
    tower = Tower(_Words(model).eval(), ("ids",), example, ({0: "rows"},))
    return TextTower(tower, facts, tokenizer)


def image_tower(model: Any, transform: ImageTransform, pixels: np.ndarray) -> Tower:
    """The image tower of an open_clip or timm model: `pixels` are prepared, `[n, 3, h, w]`."""
    example = (torch.from_numpy(channels_last(pixels)),)
    return Tower(_Pictures(model, transform).eval(), ("pixels",), example, ({0: "rows"},))
