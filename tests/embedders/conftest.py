"""Small random models of each kind, saved by the libraries themselves, and copies to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "query", "passage", ":"),
    *("a", "the", "cat", "dog", "sat", "on", "mat", "red", "blue", "circle"),
]


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json that knows a dozen words, with [CLS] and [SEP] around a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32}
    specials = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, **specials, "sep_token": "[SEP]"})
    )
    return folder


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory: pytest.TempPathFactory, word_tokenizer: Path) -> Path:
    """A random BERT of two layers, as transformers saves it: no modules.json."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny") / "transformer"
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    shutil.copytree(word_tokenizer, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_sentences(tmp_path_factory: pytest.TempPathFactory, tiny_transformer: Path) -> Path:
    """Transformer, mean pooling and a dense head, with prompts of its own: 8 dimensions."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    torch.manual_seed(1)
    transformer = Transformer(str(tiny_transformer))
    model = SentenceTransformer(
        modules=[transformer, Pooling(16, "mean"), Dense(16, 8)],
        prompts={"query": "query : ", "passage": "passage : "},
        device="cpu",
    )
    model.max_seq_length = 16
    folder = tmp_path_factory.mktemp("tiny") / "sentences"
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory, word_tokenizer: Path) -> Path:
    """A random CLIP with a small ResNet, 8 dimensions, and its tokenizer in the folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(2)
    model_cfg = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": {
            "context_length": 12,
            "vocab_size": len(WORDS),
            "width": 16,
            "heads": 2,
            "layers": 1,
            "hf_tokenizer_name": "words",
            "pool_type": "last",
        },
    }
    folder = tmp_path_factory.mktemp("tiny") / "clip"
    shutil.copytree(word_tokenizer, folder)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    )
    model = open_clip.CLIP(
        embed_dim=8, vision_cfg=model_cfg["vision_cfg"], text_cfg=dict(model_cfg["text_cfg"])
    )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ResNet-10 at 32 pixels, as timm saves it: 512 features before its classifier."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    model = timm.create_model("resnet10t", num_classes=5)
    folder = tmp_path_factory.mktemp("tiny") / "timm"
    folder.mkdir()
    pretrained = {
        "input_size": [3, 32, 32],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "classifier": "fc",
        "num_classes": 5,
    }
    config = {
        "architecture": "resnet10t",
        "num_classes": 5,
        "num_features": 512,
        "pretrained_cfg": pretrained,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Path]:
    """Copies a model's folder, so that a test may change it."""

    def copy(folder: Path | str, name: str = "copy") -> Path:
        return shutil.copytree(folder, tmp_path / name)

    return copy


@pytest.fixture
def edit_json() -> Callable[[Path, dict[str, Any]], None]:
    """Overwrites keys of a JSON file, or of an object inside it by a dotted name."""

    def edit(path: Path, changes: dict[str, Any]) -> None:
        content = json.loads(path.read_text()) if path.exists() else {}
        for name, value in changes.items():
            *parents, last = name.split(".")
            inner = content
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture
def edit_weight() -> Callable[[Path], None]:
    """Changes the last number of the last tensor of a safetensors file."""

    def edit(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    return edit
