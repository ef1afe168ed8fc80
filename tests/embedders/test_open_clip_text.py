"""The text tower of CLIP: the vectors of padded texts, without computing the padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders import torch_device
from tasks.embedders.load import load
from tasks.embedders.open_clip_embedder import OpenClip, load_open_clip
from tasks.embedders.open_clip_text import OpenClipText
from tasks.embedders.resolve import resolve

TEXTS = ["a cat", "two dogs on a red mat", "a photo of a photo of a photo of a photo of a cat", "b"]

CONTEXT = 16


@pytest.fixture
def clip(
    tiny_clip: Path, copy_of: Callable[..., Path], edit_json: Callable[[Path, dict[str, Any]], None]
) -> Callable[..., tuple[Path, Any]]:
    """Saves a small random CLIP with CLIP's own tokenizer; gives its folder and the model."""

    def save(**options: Any) -> tuple[Path, Any]:
        folder = copy_of(tiny_clip)
        (folder / "tokenizer.json").unlink()
        text = {"context_length": CONTEXT, "vocab_size": 49_408, "width": 16, "heads": 2}
        text |= {"layers": 2, **options}
        edit_json(folder / "open_clip_config.json", {"model_cfg.text_cfg": text})
        torch.manual_seed(len(str(options)))
        vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
        model = open_clip.CLIP(embed_dim=8, vision_cfg=vision, text_cfg=dict(text)).eval()
        for parameter in (model.token_embedding.weight, model.positional_embedding):
            torch.nn.init.normal_(parameter)  # as large as in a trained model, so that each counts
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
        return folder, model

    return save


def embedder(folder: Path, **options: Any) -> OpenClip:
    spec = EmbedderSpec(kind="open-clip", model=str(folder), **options)
    loaded = load(resolve(spec, ()))
    assert isinstance(loaded, OpenClip)
    return loaded


def library(model: Any) -> np.ndarray:
    with torch.inference_mode():
        tokens = open_clip.SimpleTokenizer(context_length=CONTEXT)(TEXTS)
        return model.encode_text(tokens, normalize=True).numpy()


TOWERS = [
    ({}, True),
    ({"proj_bias": True}, True),
    ({"pool_type": "eos", "eos_id": 49_407}, True),
    ({"pool_type": "last"}, False),
    ({"no_causal_mask": True}, False),
]


@pytest.mark.parametrize(
    ("options", "trimmed"), TOWERS, ids=["clip", "bias", "eos", "last", "not-causal"]
)
def test_texts_get_the_librarys_vectors(
    options: dict[str, Any], trimmed: bool, clip: Callable[..., tuple[Path, Any]]
) -> None:
    folder, model = clip(**options)
    ours = embedder(folder)

    expected = library(model)
    np.testing.assert_allclose(ours.embed_texts(TEXTS), expected, atol=1e-6)
    lengths = ours.tokenize(TEXTS).lengths.tolist()
    assert lengths == ([4, 8, CONTEXT, 3] if trimmed else [CONTEXT] * 4)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_a_tower_whose_padding_counts_keeps_it(
    clip: Callable[..., tuple[Path, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = clip(layers=1)
    monkeypatch.setattr("tasks.embedders.open_clip_text._end_token", lambda model: 320)  # "a"
    ours = embedder(folder)

    np.testing.assert_allclose(ours.embed_texts(TEXTS), library(model), atol=1e-6)
    assert ours.tokenize(TEXTS).lengths.tolist() == [CONTEXT] * 4


def test_bf16_is_within_its_tolerance(clip: Callable[..., tuple[Path, Any]]) -> None:
    folder, model = clip(heads=4)
    found = embedder(folder, precision="bf16").embed_texts(TEXTS)

    assert found.dtype == np.float32
    assert 0 < (1 - (found * library(model)).sum(axis=1)).max() < 1e-3


def test_a_batch_that_does_not_fit_is_halved_and_the_budget_remembered(
    clip: Callable[..., tuple[Path, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = clip(heads=1)
    spec = EmbedderSpec(kind="open-clip", model=str(folder), engine="torch", precision="fp32")
    ref = replace(resolve(spec, {"text"}), exports=str(tmp_path / "engines"))
    ours = load_open_clip(ref)
    whole = OpenClipText._vectors

    def small(self: Any, tokens: Any, rows: np.ndarray) -> torch.Tensor:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("more than two texts")
        return whole(self, tokens, rows)

    monkeypatch.setattr(OpenClipText, "_vectors", small)
    np.testing.assert_allclose(ours.embed_texts(TEXTS), library(model), atol=1e-6)
    assert ours.token_budget == 2 * CONTEXT
    monkeypatch.undo()
    assert load_open_clip(ref).token_budget == 2 * CONTEXT


def test_fp16_is_refused_on_a_cpu_without_it(
    clip: Callable[..., tuple[Path, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_device, "_computes_fp16", lambda: False)
    with pytest.raises(UsageError, match="precision fp16 wants a GPU"):
        embedder(clip(width=32)[0], precision="fp16")
