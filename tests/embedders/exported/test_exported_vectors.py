"""Exported models give torch's vectors: texts and pictures, prompts, pooling, truncation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from schemas.errors import UsageError
from tasks.embedders.load import load

SENTENCES = [
    "the cat sat on a mat",
    "dog",
    "the dog sat",
    "a red circle on the blue mat " * 3,
    "Rain &amp; <b>circle</b>  on\tthe   mat",
]
BOTH = pytest.mark.parametrize("engine", ["openvino", "onnx"])


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Twenty noisy pictures of many shapes: more than one batch."""
    noise = np.random.default_rng(0)
    return [
        Image.fromarray(noise.integers(0, 256, (20 + i, 70 - i, 3), np.uint8)) for i in range(20)
    ]


def torch_of(ref: Any) -> Any:
    return load(replace(ref, engine="torch", precision="fp32"))


@BOTH
def test_documents_and_queries_stand_behind_their_prompts(
    ref_of: Callable[..., Any], tiny_sentences: Path, engine: str
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, engine)
    ours, theirs = load(ref), torch_of(ref)

    for query in (False, True):
        np.testing.assert_allclose(
            ours.embed_texts(SENTENCES, query=query),
            theirs.embed_texts(SENTENCES, query=query),
            atol=1e-6,
        )
    assert ours.token_counts(SENTENCES).tolist() == theirs.token_counts(SENTENCES).tolist()
    assert type(ours).__name__ == "ExportedEmbedder"


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean"])
def test_every_pooling_is_exported(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Callable[[Path, dict[str, Any]], None],
    mode: str,
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / "1_Pooling/config.json", {"pooling_mode": mode})
    ref = ref_of("sentence-transformers", copy)

    np.testing.assert_allclose(
        load(ref).embed_texts(SENTENCES), torch_of(ref).embed_texts(SENTENCES), atol=1e-6
    )


@BOTH
def test_pooling_can_leave_the_prompt_out(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Callable[[Path, dict[str, Any]], None],
    engine: str,
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / "1_Pooling/config.json", {"include_prompt": False})
    ref = ref_of("sentence-transformers", copy, engine, prompt="passage : the ")
    ours, theirs = load(ref), torch_of(ref)

    for query in (False, True):
        np.testing.assert_allclose(
            ours.embed_texts(SENTENCES, query=query),
            theirs.embed_texts(SENTENCES, query=query),
            atol=1e-6,
        )


def test_a_model_that_pads_on_the_left_is_padded_so(
    ref_of: Callable[..., Any],
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Callable[[Path, dict[str, Any]], None],
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / "tokenizer_config.json", {"padding_side": "left"})
    ref = ref_of("sentence-transformers", copy)

    np.testing.assert_allclose(
        load(ref).embed_texts(SENTENCES), torch_of(ref).embed_texts(SENTENCES), atol=1e-6
    )


def test_truncated_vectors_have_unit_length_again(
    ref_of: Callable[..., Any], tiny_sentences: Path
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, dimensions=4)

    vectors = load(ref).embed_texts(SENTENCES)
    assert vectors.shape == (5, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, torch_of(ref).embed_texts(SENTENCES), atol=1e-6)


def test_vectors_keep_their_length_where_it_counts(
    ref_of: Callable[..., Any], tiny_sentences: Path
) -> None:
    ref = ref_of("sentence-transformers", tiny_sentences, normalize=False)

    vectors = load(ref).embed_texts(SENTENCES)
    assert np.ptp(np.linalg.norm(vectors, axis=1)) > 1e-3
    np.testing.assert_allclose(vectors, torch_of(ref).embed_texts(SENTENCES), atol=1e-5)


@BOTH
def test_open_clip_embeds_texts_and_pictures(
    ref_of: Callable[..., Any], tiny_clip: Path, pictures: list[Image.Image], engine: str
) -> None:
    ref = ref_of("open-clip", tiny_clip, engine, prompt="a ")
    ours, theirs = load(ref), torch_of(ref)

    np.testing.assert_allclose(
        ours.embed_texts(SENTENCES), theirs.embed_texts(SENTENCES), atol=1e-5
    )
    np.testing.assert_allclose(
        ours.embed_images(pictures), theirs.embed_images(pictures), atol=1e-5
    )
    assert ours.token_counts(SENTENCES).tolist() == theirs.token_counts(SENTENCES).tolist()


@BOTH
def test_timm_embeds_pictures(
    ref_of: Callable[..., Any], tiny_timm: Path, pictures: list[Image.Image], engine: str
) -> None:
    ref = ref_of("timm", tiny_timm, engine)
    ours, theirs = load(ref), torch_of(ref)

    np.testing.assert_allclose(
        ours.embed_images(pictures), theirs.embed_images(pictures), atol=1e-5
    )
    with pytest.raises(UsageError, match="embeds image, not text"):
        ours.embed_texts(["a cat"])


@pytest.fixture(scope="module")
def news(shared: Path) -> list[str]:
    """Forty real news items, and one far longer than MiniLM's window."""
    table = pq.read_table(shared / "data/text/ag_news.parquet", columns=["title", "body"])
    pairs = table.slice(0, 40).to_pylist()
    texts = [f"{pair['title']}\n\n{pair['body']}" for pair in pairs]
    return [*texts, " ".join(texts)]


@pytest.mark.parametrize(
    ("engine", "precision", "tolerance"),
    [("openvino", "fp32", 1e-6), ("onnx", "fp32", 1e-6), ("openvino", "bf16", 2e-4)],
)
def test_real_vectors_stay_within_their_tolerance_however_they_are_batched(
    ref_of: Callable[..., Any],
    minilm: str,
    news: list[str],
    engine: str,
    precision: str,
    tolerance: float,
) -> None:
    ref = ref_of("sentence-transformers", minilm, engine, precision)
    ours = load(ref)
    expected = torch_of(ref).embed_texts(news)

    given = ours.embed_texts(news)
    np.testing.assert_allclose(np.linalg.norm(given, axis=1), 1, atol=1e-6)
    assert (1 - (given * expected).sum(axis=1)).max() < tolerance
    alone = np.concatenate([ours.embed_texts([text]) for text in news[-9:]])
    assert (1 - (alone * given[-9:]).sum(axis=1)).max() < tolerance


def test_threads_may_share_an_exported_model(ref_of: Callable[..., Any], minilm: str) -> None:
    model = load(ref_of("sentence-transformers", minilm))
    texts = [f"{i} sheep jumped over a fence of height {i * 7}" for i in range(64)]
    expected = model.embed_texts(texts)
    model.token_budget = 64  # many small batches

    with ThreadPoolExecutor(6) as pool:
        for vectors in pool.map(model.embed_texts, [texts] * 12):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_batch_that_fails_says_so_when_it_is_asked_for(
    ref_of: Callable[..., Any], tiny_timm: Path
) -> None:
    model = load(ref_of("timm", tiny_timm))
    pending = model.submit_pixels(np.zeros((1, 4, 32, 32), np.uint8))

    with pytest.raises(Exception, match=r"shape|dimension"):
        pending()
    assert model.embed_pixels(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 512)
