"""Pictures through the torch embedders: quick preparation, batches side by side, safe layouts."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from schemas.spec import EmbedderSpec
from tasks.embedders.load import load
from tasks.embedders.prepacked import PrepackedLinear, prepack_proven
from tasks.embedders.protocol import Embedder
from tasks.embedders.resolve import resolve
from tasks.store.pictures import open_picture


def embedder(kind: str, folder: Path, **options: Any) -> Embedder:
    spec = {"kind": kind, "model": str(folder), "precision": "fp32", "engine": "torch", **options}
    return load(resolve(EmbedderSpec.model_validate(spec), ()))


def photograph(number: int) -> bytes:
    """A JPEG of blurred noise."""
    draw = np.random.default_rng(number)
    noise = draw.integers(0, 256, (int(draw.integers(60, 400)), 300, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).save(out, "JPEG", quality=90)
    return out.getvalue()


def distances(model: Embedder, contents: list[bytes]) -> np.ndarray:
    """1 − cos between the vectors of quick and of the library's own preparation: float64 `[n]`."""
    images = model.images  # type: ignore[attr-defined]
    theirs = [images.library_transform(open_picture(content)).numpy() for content in contents]
    ours = np.stack([model.prepare_bytes(content) for content in contents])
    assert ours.dtype == np.uint8
    a = model.embed_pixels(ours).astype(np.float64)
    b = model.embed_pixels(np.stack(theirs)).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 1 - (a * b).sum(axis=1) / lengths


@pytest.mark.parametrize("kind", ["open-clip", "timm"])
def test_files_prepared_on_tensors_get_the_librarys_vectors(
    kind: str, tiny_clip: Path, tiny_timm: Path
) -> None:
    model = embedder(kind, tiny_clip if kind == "open-clip" else tiny_timm)
    assert distances(model, [photograph(number) for number in range(12)]).max() < 1e-4


def test_photographs_get_the_librarys_vectors(shared: Path) -> None:
    files = sorted((shared / "data/images/caltech101").glob("*/image_0011.jpg"))
    model = embedder("timm", shared / "models/mobilenetv2_100")
    assert distances(model, [file.read_bytes() for file in files]).max() < 1e-4


def test_a_transform_that_cannot_be_read_is_used_as_it_is(
    tiny_timm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.embedders.torch_images.read_transform", lambda transform: None)
    monkeypatch.setattr("tasks.embedders.load._loaded", {})
    model = embedder("timm", tiny_timm)
    images = model.images  # type: ignore[attr-defined]
    content = photograph(1)

    prepared = model.prepare_bytes(content)
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, images.library_transform(open_picture(content)))
    np.testing.assert_array_equal(model.prepare_image(open_picture(content)), prepared)
    assert model.embed_pixels(prepared[None]).shape == (1, 512)


def test_a_vector_does_not_depend_on_its_batch_nor_on_what_is_under_way(tiny_timm: Path) -> None:
    model = embedder("timm", tiny_timm)
    pixels = np.stack([model.prepare_bytes(photograph(number)) for number in range(9)])
    alone = np.concatenate([model.embed_pixels(one[None]) for one in pixels])
    under_way = [model.submit_pixels(pixels[start:]) for start in range(9)]
    for start, pending in enumerate(under_way):
        np.testing.assert_allclose(pending(), alone[start:], atol=1e-6)


def test_a_batch_that_runs_out_of_memory_is_halved_and_remembered(
    tiny_timm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.embedders.load._loaded", {})
    model = embedder("timm", tiny_timm)
    images = model.images  # type: ignore[attr-defined]
    pixels = np.stack([model.prepare_bytes(photograph(number)) for number in range(8)])
    expected = model.embed_pixels(pixels)
    encode = images._encode

    def small(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("no more than two")
        return encode(batch)

    images._encode = small
    np.testing.assert_allclose(model.embed_pixels(pixels), expected, atol=1e-6)
    assert model.image_batch == 2


class ReadsWeights(torch.nn.Module):
    """A model that uses its layer's weight itself, as some of timm's attentions do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(values, self.layer.weight)


@torch.inference_mode()
def test_a_layout_that_a_model_cannot_use_is_undone() -> None:
    values = torch.randn(3, 8)
    usual = torch.nn.Sequential(torch.nn.Linear(8, 8))
    expected = usual(values)
    assert prepack_proven(usual, lambda: usual(values))
    assert isinstance(usual[0], PrepackedLinear)
    torch.testing.assert_close(usual(values), expected)

    special = ReadsWeights()
    expected = special(values)
    assert not prepack_proven(special, lambda: special(values))
    assert torch.equal(special(values), expected)
