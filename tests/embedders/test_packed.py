"""Batches without padding: the same vectors, for every model type that is packed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.spec import EmbedderSpec
from tasks.embedders import packed
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve
from tasks.embedders.tokens import Tokens
from tasks.embedders.transformer_text import TransformerText

SENTENCES = ["the cat sat on a mat", "dog", "the dog sat", "a red circle on the blue mat " * 3]

SMALL = {
    "vocab_size": 17,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
OTHER_NAMES = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8},
    "eurobert": {"num_key_value_heads": 2},
    "albert": {"embedding_size": 8},
}
"""What a model type calls by another name, or has besides."""

PACKED_TYPES = sorted(packed.POSITIONS_FROM_ZERO | packed.POSITIONS_AFTER_PADDING)


@pytest.fixture
def small(tmp_path: Path, word_tokenizer: Path) -> Callable[..., Path]:
    """Saves a small random model of a type."""

    def save(model_type: str, **options: Any) -> Path:
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(5)
        options = {**SMALL, **OTHER_NAMES.get(model_type, {}), **options}
        specials = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
        config = AutoConfig.for_model(model_type, **{**specials, **options})
        model = AutoModel.from_config(config)
        for parameter in model.parameters():  # far from zero, so that every part counts
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(tmp_path / model_type)
        shutil.copytree(word_tokenizer, tmp_path / model_type, dirs_exist_ok=True)
        return tmp_path / model_type

    return save


def embedder(folder: Path | str, **options: Any) -> TransformerText:
    spec = EmbedderSpec(kind="sentence-transformers", model=str(folder), **options)
    loaded = load(resolve(spec, {"text"}))
    assert isinstance(loaded, TransformerText)
    return loaded


def library(folder: Path | str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("model_type", PACKED_TYPES)
def test_every_packed_type_gives_the_librarys_vectors(
    model_type: str, small: Callable[..., Path]
) -> None:
    folder = small(model_type)
    model = embedder(folder)

    assert model.packed
    expected = library(folder).encode(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(model.embed_texts(SENTENCES), expected, atol=2e-6)
    assert np.abs(expected[0] - expected[2]).max() > 0.01


def test_a_type_that_is_not_known_is_padded(small: Callable[..., Path]) -> None:
    folder = small("mpnet")
    model = embedder(folder)

    assert not model.packed
    expected = library(folder).encode(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(model.embed_texts(SENTENCES), expected, atol=2e-6)


def test_a_model_that_packing_would_change_is_padded(
    small: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "first_position", lambda model: 1)  # one place too far
    folder = small("bert", intermediate_size=24)  # no other test has loaded it
    model = embedder(folder)

    assert not model.packed
    expected = library(folder).encode(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(model.embed_texts(SENTENCES), expected, atol=2e-6)


def test_a_model_that_cannot_be_packed_is_padded(
    small: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise ValueError("no such attention")

    monkeypatch.setattr(packed, "_grouped_attention", refuse)
    model = embedder(small("bert", intermediate_size=28))

    assert not model.packed
    assert np.isfinite(model.embed_texts(SENTENCES)).all()


POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.mark.parametrize("prompt", [True, False], ids=["prompt-pooled", "prompt-left-out"])
@pytest.mark.parametrize("mode", POOLINGS)
def test_every_pooling_works_packed(
    mode: str, prompt: bool, tmp_path: Path, tiny_transformer: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(tiny_transformer))
    pooling = Pooling(16, mode, include_prompt=prompt)
    made = SentenceTransformer(
        modules=[transformer, pooling], prompts={"passage": "passage : "}, device="cpu"
    )
    made.save(str(tmp_path / "made"), create_model_card=False)
    model = embedder(tmp_path / "made")

    assert model.packed
    expected = library(tmp_path / "made").encode(
        SENTENCES, prompt_name="passage", normalize_embeddings=True
    )
    np.testing.assert_allclose(model.embed_texts(SENTENCES), expected, atol=2e-6)


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    window=st.sampled_from([None, 1, 3, 20]),
    causal=st.booleans(),
    shared=st.booleans(),
)
def test_a_text_attends_to_itself_alone(
    lengths: list[int], window: int | None, causal: bool, shared: bool
) -> None:
    torch.manual_seed(0)
    total = sum(lengths)
    query = torch.randn(1, 4, total, 8)
    key, value = torch.randn(2, 1, 2 if shared else 4, total, 8)
    module = torch.nn.Module()
    module.is_causal = causal
    ends = np.concatenate([[0], np.cumsum(lengths)])

    out, _ = packed.packed_attention(
        module,
        query,
        key,
        value,
        None,
        cu_seq_lens_q=torch.from_numpy(ends),
        max_length_q=max(lengths),
        sliding_window=window,
    )

    text = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    place = torch.arange(total)
    seen = text[:, None] == text
    if window:
        seen &= (place[:, None] - place).abs() < window
    if causal:
        seen &= place[:, None] >= place
    times = 2 if shared else 1
    scores = query @ key.repeat_interleave(times, dim=1).mT / 8**0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = (weights @ value.repeat_interleave(times, dim=1)).transpose(1, 2)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)


def test_a_batch_is_laid_out_text_after_text() -> None:
    tokens = Tokens.from_lists([[7, 8, 9], [5], [6, 6]])
    flat, longest = packed.layout(tokens, np.array([2, 0]))
    assert flat.dtype == np.int32
    features = packed.features(torch.from_numpy(flat), 2, longest, first=2)

    assert features["input_ids"].tolist() == [[6, 6, 7, 8, 9]]
    assert features["position_ids"].tolist() == [[2, 3, 2, 3, 4]]
    assert features["seq_idx"].tolist() == [[0, 0, 1, 1, 1]]
    assert features["cu_seq_lens_q"].tolist() == [0, 2, 5]
    assert features["max_length_q"] == 3


def test_bf16_is_packed_within_its_tolerance(minilm: str) -> None:
    texts = ["A cat sat on the mat.", "Rates rose again.", "The match was lost. " * 9]
    exact, quick = embedder(minilm), embedder(minilm, precision="bf16")

    assert exact.packed
    assert quick.packed
    apart = 1 - (exact.embed_texts(texts) * quick.embed_texts(texts)).sum(axis=1)
    assert 0 < apart.max() < 2e-4
