"""Image embedders: the vectors are open_clip's and timm's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import UsageError, VecmillError
from schemas.spec import EmbedderSpec
from tasks.embedders.load import load
from tasks.embedders.protocol import Embedder
from tasks.embedders.resolve import resolve


def embedder(kind: str, folder: Path, **options: Any) -> Embedder:
    return load(resolve(EmbedderSpec(kind=kind, model=str(folder), **options), ()))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Forty noisy pictures of many shapes: more than one batch."""
    noise = np.random.default_rng(0)
    return [
        Image.fromarray(noise.integers(0, 256, (20 + i, 70 - i, 3), np.uint8)) for i in range(40)
    ]


def unit(vectors: Any) -> np.ndarray:
    array = vectors.detach().numpy()
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_open_clip_embeds_pictures_and_text_as_the_library_does(
    tiny_clip: Path, pictures: list[Image.Image]
) -> None:
    import open_clip
    import torch

    name = f"local-dir:{tiny_clip}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    texts = ["a red circle", "the blue cat sat on a mat " * 4]
    ours = embedder("open-clip", tiny_clip)

    with torch.inference_mode():
        images = model.eval().encode_image(torch.stack([transform(p) for p in pictures]))
        words = model.encode_text(tokenizer(texts))
    np.testing.assert_allclose(ours.embed_images(pictures), unit(images), atol=1e-6)
    np.testing.assert_allclose(ours.embed_texts(texts), unit(words), atol=1e-6)
    assert ours.token_counts(texts).tolist() == [3, 28]


def test_timm_embeds_pictures_as_the_library_does(
    shared: Path, pictures: list[Image.Image]
) -> None:
    import timm
    import torch

    folder = shared / "models/mobilenetv2_100"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )

    with torch.inference_mode():
        expected = model(torch.stack([transform(p) for p in pictures[:3]]))
    ours = embedder("timm", folder).embed_images(pictures[:3])
    assert ours.shape == (3, 1280)
    np.testing.assert_allclose(ours, unit(expected), atol=1e-6)


def test_pictures_keep_their_order_over_batches(
    tiny_timm: Path, pictures: list[Image.Image]
) -> None:
    model = embedder("timm", tiny_timm)
    together = model.embed_images(pictures)

    assert len(pictures) > model.image_batch
    backwards = model.embed_images(pictures[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-6)


def test_truncation_and_bf16_hold_for_pictures_too(
    tiny_clip: Path, pictures: list[Image.Image]
) -> None:
    full = embedder("open-clip", tiny_clip).embed_images(pictures)
    short = embedder("open-clip", tiny_clip, dimensions=4).embed_images(pictures)
    quick = embedder("open-clip", tiny_clip, precision="bf16").embed_images(pictures)

    cut = full[:, :4] / np.linalg.norm(full[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, atol=1e-6)
    assert (1 - (full * quick).sum(axis=1)).max() < 0.01


def test_clips_own_tokenizer_needs_no_files(
    tiny_clip: Path, copy_of: Callable[..., Path], edit_json: Callable[[Path, dict[str, Any]], None]
) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    copy = copy_of(tiny_clip)
    (copy / "tokenizer.json").unlink()
    text_cfg = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    edit_json(copy / "open_clip_config.json", {"model_cfg.text_cfg": text_cfg})
    torch.manual_seed(0)
    vision_cfg = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    model = open_clip.CLIP(embed_dim=8, vision_cfg=vision_cfg, text_cfg=text_cfg)
    save_file(model.state_dict(), copy / "open_clip_model.safetensors")
    ours = embedder("open-clip", copy, prompt="a photo of ")

    with torch.inference_mode():
        expected = model.eval().encode_text(
            open_clip.SimpleTokenizer(context_length=12)(["a photo of a cat"])
        )
    np.testing.assert_allclose(ours.embed_texts(["a cat"]), unit(expected), atol=1e-6)
    assert (ours.ref.tokenizer, ours.token_counts(["a cat"]).tolist()) == (None, [2])


def test_an_image_model_says_that_it_takes_no_text(tiny_timm: Path) -> None:
    with pytest.raises(UsageError, match=r"embeds image, not text.*open-clip"):
        embedder("timm", tiny_timm).embed_texts(["a cat"])


def test_weights_that_do_not_fill_the_model_are_an_error(tiny_clip: Path, copy_of: Any) -> None:
    from safetensors.numpy import load_file, save_file

    copy = copy_of(tiny_clip)
    weights = load_file(copy / "open_clip_model.safetensors")
    del weights["text_projection"]
    save_file(weights, copy / "open_clip_model.safetensors")

    with pytest.raises(VecmillError, match=r"could not be loaded by open-clip.*text_projection"):
        embedder("open-clip", copy)
