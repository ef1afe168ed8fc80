"""Models and texts for `gpu.py`: BERT of a given size with random weights, texts of a given length.

Random weights serve: what a model costs does not depend on its weights. The tokenizer is
all-MiniLM-L6-v2's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

SPECIAL = 2
"""[CLS] and [SEP] around each text."""

LONGEST = 512


@dataclass(frozen=True)
class BertSize:
    """The numbers that make a BERT."""

    hidden: int
    layers: int
    heads: int
    inner: int


SIZES = {
    "minilm": BertSize(384, 6, 12, 1536),
    "base": BertSize(768, 12, 12, 3072),
    "tiny": BertSize(32, 1, 2, 64),
}
"""all-MiniLM-L6-v2's size; that of bert-base, bge-base and e5-base; and one for a quick look."""


def write_model(folder: Path, size: BertSize, tokenizer: Path) -> Path:
    """A sentence-transformers folder with mean pooling and weights drawn from a seed."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    words = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
    config = BertConfig(
        vocab_size=words,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=LONGEST,
    )
    torch.manual_seed(0)
    model = BertModel(config, add_pooling_layer=False)
    (folder / "1_Pooling").mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": LONGEST}
    settings |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    _write(folder / "tokenizer_config.json", settings | {"unk_token": "[UNK]"})
    _write(folder / "config.json", {**config.to_dict(), "architectures": ["BertModel"]})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST})
    pooling = {"word_embedding_dimension": size.hidden, "pooling_mode_mean_tokens": True}
    _write(folder / "1_Pooling" / "config.json", {**pooling, "pooling_mode_cls_token": False})
    _write(folder / "modules.json", [_module(0, "Transformer"), _module(1, "Pooling", "1_Pooling")])
    return folder


def _module(number: int, name: str, path: str = "") -> dict[str, object]:
    kind = f"sentence_transformers.models.{name}"
    return {"idx": number, "name": str(number), "path": path, "type": kind}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def make_texts(tokenizer: Path, tokens: int, count: int) -> list[str]:
    """`count` texts of exactly `tokens` tokens, special ones included: whole words at random.

    Words are drawn as they are in a language: few of them often (Zipf).
    """
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    words = sorted((w for w in vocabulary if w.isascii() and w.isalpha()), key=vocabulary.get)
    rng = np.random.default_rng(tokens)
    chosen = rng.zipf(1.3, (count, tokens - SPECIAL)) % len(words)
    return [" ".join([words[i] for i in line]) for line in chosen.tolist()]
