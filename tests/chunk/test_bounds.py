"""What is said of a text's tokens without tokenising it holds, for every kind of tokenizer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tasks.chunk.bounds import bounding, sure_at_most
from tasks.chunk.tokens import FileTokens

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[2].parent / "shared"))
TEXTS = ["The river keeps to its bed.", "a winter market, a harbour 42"]


def saved(tokenizer: Tokenizer, folder: Path) -> str:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def word_level(unknown: str | None = "[UNK]") -> Tokenizer:
    words = {"river": 0, "winter": 1, "[UNK]": 2}
    made = Tokenizer(models.WordLevel(words, unknown) if unknown else models.WordLevel(words))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFKD()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


@pytest.fixture(scope="module", params=["minilm", "potion", "words", "bytes"])
def tokens(request, tmp_path_factory) -> FileTokens:
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "minilm":
        path = str(Path(request.getfixturevalue("minilm")) / "tokenizer.json")
    elif request.param == "potion":
        path = str(SHARED / "models" / "potion-4m-fp16" / "tokenizer.json")
        if not Path(path).is_file():
            pytest.skip("the shared models are not here")
    else:
        path = saved(word_level() if request.param == "words" else byte_level(), folder)
    assert bounding(Path(path).read_text("utf-8"))
    return FileTokens(path)


ODD = st.sampled_from(["ﷺ", "é", "İ", "ß", "漢字", "\u200b", "\u0301", "🙂", " ", "\t", "[SEP]"])
ANY = st.lists(st.one_of(st.text(max_size=8), ODD), max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(ANY, min_size=1, max_size=5), limit=st.integers(1, 30))
def test_any_text_has_what_is_said(tokens, texts, limit):
    counts, within = tokens.counts(texts), tokens.counts_within(texts, limit)
    assert ((counts == 0) == (within == 0)).all()
    assert ((counts > limit) == (within > limit)).all()
    for text, count in zip(texts, counts.tolist(), strict=True):
        most = sure_at_most(text)
        assert most == 0 or 1 <= count <= most


def test_short_texts_are_not_tokenised(tokens, monkeypatch):
    monkeypatch.setattr(tokens, "counts", lambda texts: np.array([7] * len(texts), np.int32))
    found = tokens.counts_within(["a river", "", "…", "winter " * 9], 20)
    assert found.tolist() == [8, 7, 7, 7]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(t, "normalizer", normalizers.Replace("a", "")),
        lambda t: setattr(t, "normalizer", normalizers.Prepend("▁")),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Split("a", "removed")),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Metaspace()),
    ],
    ids=["replaces", "prepends", "splits", "metaspace"],
)
def test_a_tokenizer_of_another_kind_counts(change, tmp_path):
    made = word_level()
    assert bounding(made.to_str())
    change(made)
    assert not bounding(made.to_str())
    assert FileTokens(saved(made, tmp_path)).counts_within(["", "river winter"], 50)[0] == 0


def test_without_an_unknown_token_a_word_may_have_none():
    content = json.loads(word_level().to_str())
    content["model"]["unk_token"] = "not there"
    assert not bounding(json.dumps(content))


def test_letters_of_a_byte_alphabet_must_be_known():
    made = Tokenizer(models.BPE({"a": 0}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert not bounding(made.to_str())
