"""Text embedders: the vectors are sentence-transformers' own, however the texts are batched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders import budget, torch_device, transformer_text
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.load import load
from tasks.embedders.prepacked import PrepackedLinear
from tasks.embedders.protocol import Embedder
from tasks.embedders.resolve import resolve
from tasks.embedders.transformer_text import LibraryTokenizer

SENTENCES = ["the cat sat on a mat", "dog", "the dog sat", "a red circle on the blue mat " * 3]


def embedder(folder: Path | str, **options: Any) -> Embedder:
    spec = EmbedderSpec(kind="sentence-transformers", model=str(folder), **options)
    return load(resolve(spec, {"text"}))


def library(folder: Path | str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def news(shared: Path) -> list[str]:
    """A dozen real news items, and one far longer than MiniLM's window."""
    table = pq.read_table(shared / "data/text/ag_news.parquet", columns=["title", "body"])
    pairs = table.slice(0, 12).to_pylist()
    texts = [f"{pair['title']}\n\n{pair['body']}" for pair in pairs]
    return [*texts, " ".join(texts)]


def test_real_vectors_equal_the_librarys_to_a_millionth(minilm: str, news: list[str]) -> None:
    ours = embedder(minilm).embed_texts(news)
    theirs = library(minilm).encode(news, normalize_embeddings=True)

    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_vectors_do_not_depend_on_the_batch_mates(minilm: str, news: list[str]) -> None:
    model = embedder(minilm)
    together = model.embed_texts(news)

    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(news))
        cuts = np.sort(np.random.default_rng(seed).choice(len(news), 3, replace=False))
        parts = [
            model.embed_texts([news[i] for i in part])
            for part in np.split(order, cuts)
            if len(part)
        ]
        np.testing.assert_allclose(np.concatenate(parts), together[order], atol=1e-6)


def test_documents_and_queries_stand_behind_their_prompts(tiny_sentences: Path) -> None:
    model, theirs = embedder(tiny_sentences), library(tiny_sentences)
    documents, queries = model.embed_texts(SENTENCES), model.embed_texts(SENTENCES, query=True)

    expected = theirs.encode(SENTENCES, prompt_name="passage", normalize_embeddings=True)
    np.testing.assert_allclose(documents, expected, atol=1e-6)
    expected = theirs.encode(SENTENCES, prompt_name="query", normalize_embeddings=True)
    np.testing.assert_allclose(queries, expected, atol=1e-6)
    assert np.abs(documents - queries).max() > 0.01


def test_pooling_can_leave_the_prompt_out(
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Callable[[Path, dict[str, Any]], None],
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / "1_Pooling/config.json", {"include_prompt": False})

    expected = library(copy).encode(SENTENCES, prompt_name="passage", normalize_embeddings=True)
    np.testing.assert_allclose(embedder(copy).embed_texts(SENTENCES), expected, atol=1e-6)


def test_truncated_vectors_have_unit_length_again(tiny_sentences: Path) -> None:
    short = embedder(tiny_sentences, dimensions=4).embed_texts(SENTENCES)
    full = embedder(tiny_sentences).embed_texts(SENTENCES)[:, :4]

    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(short, full / np.linalg.norm(full, axis=1)[:, None], atol=1e-6)


def test_vectors_keep_their_length_where_normalize_is_off(tiny_sentences: Path) -> None:
    ours = embedder(tiny_sentences, normalize=False).embed_texts(SENTENCES)

    expected = library(tiny_sentences).encode(SENTENCES, prompt_name="passage")
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() > 0.01


def test_a_plain_transformer_is_pooled_as_the_library_pools_it(tiny_transformer: Path) -> None:
    expected = library(tiny_transformer).encode(SENTENCES, normalize_embeddings=True)

    np.testing.assert_allclose(
        embedder(tiny_transformer).embed_texts(SENTENCES), expected, atol=1e-6
    )


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory, word_tokenizer: Path) -> Path:
    """A random T5 encoder, which reads the number format of its layers' weights."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny") / "t5"
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    shutil.copytree(word_tokenizer, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-6), ("bf16", 2e-4)])
def test_a_model_that_reads_the_weights_of_its_layers_is_embedded(
    tiny_t5: Path, precision: str, apart: float
) -> None:
    ours = embedder(tiny_t5, precision=precision).embed_texts(SENTENCES)
    theirs = library(tiny_t5).encode(SENTENCES, normalize_embeddings=True)
    assert (1 - (ours * theirs).sum(axis=1)).max() <= apart


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_berts_layers_are_laid_out_for_the_cpu(tiny_sentences: Path, precision: str) -> None:
    if torch_device.device().type != "cpu" or not torch.backends.mkldnn.is_available():
        pytest.skip("only on a CPU, and with oneDNN")
    model = embedder(tiny_sentences, precision=precision).model  # type: ignore[attr-defined]
    kinds = {type(layer) for layer in model[0].modules()}
    assert PrepackedLinear in kinds
    assert torch.nn.Linear not in kinds


def test_static_embeddings_take_texts_of_any_length(shared: Path, news: list[str]) -> None:
    folder = shared / "models/potion-4m-fp16"
    model = embedder(folder)
    expected = library(folder).float().encode(news, normalize_embeddings=True)

    np.testing.assert_allclose(model.embed_texts(news), expected, atol=1e-6)
    assert model.token_counts(news)[-1] > 600


def test_bf16_stays_within_its_tolerance_of_fp32(minilm: str, news: list[str]) -> None:
    exact = embedder(minilm).embed_texts(news)
    quick = embedder(minilm, precision="bf16").embed_texts(news)

    np.testing.assert_allclose(np.linalg.norm(quick, axis=1), 1, atol=1e-6)
    assert 0 < (1 - (exact * quick).sum(axis=1)).max() < 2e-4


def test_token_counts_are_those_of_the_text_alone(tiny_sentences: Path) -> None:
    counts = embedder(tiny_sentences).token_counts(SENTENCES)

    assert counts.dtype == np.int32
    assert counts.tolist() == [6, 1, 3, 21]


def test_tokens_are_cut_at_the_models_maximum(tiny_sentences: Path) -> None:
    # [CLS] passage : … [SEP]
    assert embedder(tiny_sentences).tokenize(SENTENCES).lengths.tolist() == [10, 5, 7, 16]


def test_an_empty_text_is_never_embedded(tiny_sentences: Path) -> None:
    with pytest.raises(UsageError, match="an empty text"):
        embedder(tiny_sentences).embed_texts(["the cat", ""])


def test_no_texts_give_no_vectors(tiny_sentences: Path) -> None:
    assert embedder(tiny_sentences).embed_texts([]).shape == (0, 8)


def test_a_text_model_says_that_it_takes_no_pictures(tiny_sentences: Path) -> None:
    from PIL import Image

    with pytest.raises(UsageError, match="embeds text, not images"):
        embedder(tiny_sentences).embed_images([Image.new("RGB", (8, 8))])


def test_tokens_are_the_librarys_without_its_python(minilm: str, news: list[str]) -> None:
    model = embedder(minilm)
    expected = library(minilm).tokenizer(news, truncation=True)["input_ids"]

    assert isinstance(model._tokenizer, FastTokenizer)  # type: ignore[attr-defined]
    tokens = model.tokenize(news)
    assert [list(ids) for ids in np.split(tokens.ids, tokens.offsets[1:-1])] == expected


def test_a_tokenizer_that_cuts_on_the_left_is_the_librarys(
    tiny_sentences: Path,
    copy_of: Callable[..., Path],
    edit_json: Callable[[Path, dict[str, Any]], None],
) -> None:
    copy = copy_of(tiny_sentences)
    edit_json(copy / "tokenizer_config.json", {"truncation_side": "left"})
    model = embedder(copy)

    assert isinstance(model._tokenizer, LibraryTokenizer)  # type: ignore[attr-defined]
    assert model.tokenize(SENTENCES).lengths.tolist() == [10, 5, 7, 16]
    assert model.token_counts(SENTENCES).tolist() == [6, 1, 3, 21]
    expected = library(copy).encode(SENTENCES, prompt_name="passage", normalize_embeddings=True)
    np.testing.assert_allclose(model.embed_texts(SENTENCES), expected, atol=1e-6)


def test_fp16_is_refused_on_a_cpu_without_it(
    tiny_sentences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_device, "_computes_fp16", lambda: False)
    with pytest.raises(UsageError, match=r"embedder\.precision fp16 wants a GPU.*Set .* to bf16"):
        embedder(tiny_sentences, precision="fp16")


def test_fp16_is_within_its_tolerance_where_a_cpu_has_it(
    tiny_sentences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_device, "_computes_fp16", lambda: True)
    exact = embedder(tiny_sentences).embed_texts(SENTENCES)
    quick = embedder(tiny_sentences, precision="fp16").embed_texts(SENTENCES)

    assert (1 - (exact * quick).sum(axis=1)).max() < 2e-4
    assert np.abs(exact - quick).max() > 1e-5


def test_a_batch_that_does_not_fit_is_halved_and_the_budget_remembered(
    tiny_sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EmbedderSpec(kind="sentence-transformers", model=str(tiny_sentences), normalize=False)
    ref = replace(resolve(spec, {"text"}).plain, exports=str(tmp_path / "engines"))
    model = transformer_text.load_transformer(ref)
    expected = model.embed_texts(SENTENCES * 9)
    whole = transformer_text.TransformerText._vectors

    def small(self: Any, tokens: Any, rows: np.ndarray) -> torch.Tensor:
        if tokens.lengths[rows].sum() > 100:
            raise torch.OutOfMemoryError("more than 100 tokens")
        return whole(self, tokens, rows)

    monkeypatch.setattr(transformer_text.TransformerText, "_vectors", small)
    np.testing.assert_allclose(model.embed_texts(SENTENCES * 9), expected, atol=1e-6)
    assert 50 <= model.token_budget <= 100  # at least half of what fits
    monkeypatch.undo()
    assert transformer_text.load_transformer(ref).token_budget == model.token_budget


def test_the_budget_is_measured_with_the_model_itself(
    tiny_sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "MEASURE_AFTER", 50)
    spec = EmbedderSpec(kind="sentence-transformers", model=str(tiny_sentences), dimensions=5)
    ref = replace(resolve(spec, {"text"}).plain, exports=str(tmp_path / "engines"))
    model = transformer_text.load_transformer(ref)
    assert model.token_budget == torch_device.CPU_TOKEN_BUDGET
    model.embed_texts(SENTENCES * 9)

    assert model.token_budget in torch_device.CPU_BUDGETS
    assert len(list(tmp_path.rglob("budget-torch-fp32-cpu-*.json"))) == 1


def test_workers_of_one_process_give_the_vectors_of_one(minilm: str, news: list[str]) -> None:
    model = embedder(minilm)
    alone = model.embed_texts(news)
    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(lambda _: model.embed_texts(news), range(4)))

    for vectors in found:
        np.testing.assert_allclose(vectors, alone, atol=1e-6)
