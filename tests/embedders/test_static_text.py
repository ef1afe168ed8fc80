"""Static models: the library's vectors, without the library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve

TEXTS = ["the cat sat on a mat", "dog", "nothing that it knows"]

TABLES = {
    "sentence-transformers": {"embedding.weight": (17, 6)},
    "model2vec": {"embeddings": (17, 6)},
    "model2vec-half": {"embeddings": (17, 6)},
    "model2vec-mapped": {"embeddings": (5, 6), "mapping": (17,)},
    "model2vec-weighted": {"embeddings": (5, 6), "mapping": (17,), "weights": (17,)},
}
"""How the vectors of a static embedding are kept: names and shapes."""


@pytest.fixture
def static(tmp_path: Path, word_tokenizer: Path) -> Callable[..., Path]:
    """Saves a random static model in a layout of `TABLES`, with modules behind it."""

    def save(layout: str = "sentence-transformers", *tail: str) -> Path:
        generator = torch.Generator().manual_seed(len(layout))
        tensors = {
            name: torch.randint(5, shape, generator=generator)
            if name == "mapping"
            else torch.randn(shape, generator=generator)
            for name, shape in TABLES[layout].items()
        }
        if layout.endswith("half"):
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
        folder = tmp_path / "static"
        names = ["StaticEmbedding", *tail]
        for place, name in enumerate(names):
            (folder / f"{place}_{name}").mkdir(parents=True)
        save_file(tensors, folder / "0_StaticEmbedding/model.safetensors")
        content = (word_tokenizer / "tokenizer.json").read_text()
        (folder / "0_StaticEmbedding/tokenizer.json").write_text(content)
        modules = [
            {"idx": i, "name": str(i), "path": f"{i}_{name}", "type": f"{MODELS}.{name}"}
            for i, name in enumerate(names)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        if "Dense" in tail:
            _save_dense(folder / f"{names.index('Dense')}_Dense", generator)
        return folder

    return save


MODELS = "sentence_transformers.models"


def _save_dense(folder: Path, generator: torch.Generator) -> None:
    activation = "torch.nn.modules.activation.Tanh"
    config = {"in_features": 6, "out_features": 4, "bias": True, "activation_function": activation}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {"linear.weight": (4, 6), "linear.bias": (4,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in weights.items()}
    save_file(tensors, folder / "model.safetensors")


def embed(folder: Path, **options: Any) -> np.ndarray:
    spec = EmbedderSpec(kind="sentence-transformers", model=str(folder), **options)
    return load(resolve(spec, {"text"})).embed_texts(TEXTS)


def library(folder: Path, **options: Any) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.float().encode(TEXTS, **options)


@pytest.mark.parametrize("layout", TABLES)
def test_vectors_are_the_librarys_however_they_are_kept(
    layout: str, static: Callable[..., Path]
) -> None:
    folder = static(layout)
    expected = library(folder, normalize_embeddings=True)
    np.testing.assert_allclose(embed(folder), expected, atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dimensions", [None, 3])
@pytest.mark.parametrize("tail", ["Normalize", "Dense"])
def test_what_comes_behind_it_counts(
    tail: str, dimensions: int | None, normalize: bool, static: Callable[..., Path]
) -> None:
    folder = static("sentence-transformers", tail)
    expected = library(folder, normalize_embeddings=normalize, truncate_dim=dimensions)

    found = embed(folder, normalize=normalize, dimensions=dimensions)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_weights_without_vectors_are_named(static: Callable[..., Path]) -> None:
    folder = static()
    save_file({"table": torch.zeros(17, 6)}, folder / "0_StaticEmbedding/model.safetensors")
    with pytest.raises(UsageError, match=r"model\.safetensors holds table; a static embedding"):
        embed(folder)


def test_a_static_model_does_not_wait_for_the_library(static: Callable[..., Path]) -> None:
    code = (
        "import sys; from schemas.spec import EmbedderSpec; from tasks.embedders.load import load;"
        "from tasks.embedders.resolve import resolve;"
        f"spec = EmbedderSpec(kind='sentence-transformers', model={str(static())!r});"
        "print(load(resolve(spec, {'text'})).embed_texts(['the cat']).shape);"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.splitlines() == ["(1, 6)", "['torch']"], shown.stderr
