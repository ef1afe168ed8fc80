"""The table of words gives the library's tokens, whatever the text holds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel, WordPiece
from tokenizers.processors import BertProcessing

from tasks.embedders import word_table
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.word_table import WordTable, has_words

LONGEST = 24

PIECES = st.one_of(
    st.sampled_from(
        [
            *("the", "The", "naïve", "e\u0301", "東京", "don't", "[CLS]", "[mask]", "a[SEP]b", "Σ"),
            *("\t", "\n", "\r", "\x0b", "\x1c", "\x00", "\u00a0", "\u2003", "\u200b", "\ufffd"),
            *("unbelievably", "x" * 101, "🙂", "1,234.5", "##ing", "İstanbul", "ﬁne", "\u0301"),
        ]
    ),
    st.text(max_size=8),
)
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from(["", " ", "  "])), min_size=1, max_size=12).map(
    lambda pairs: "".join(piece + blank for piece, blank in pairs)
)


def small(lower: bool, level: bool) -> Tokenizer:
    """A WordPiece or word-level tokenizer of a few words, without special tokens around a text."""
    words = ["[UNK]", "the", "a", "b", "##b", "##a", "don", "t", "'", "東", "##ing", "[mask]"]
    vocabulary = {word: i for i, word in enumerate(words)}
    model = WordLevel(vocabulary, "[UNK]") if level else WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    pre = pre_tokenizers.Whitespace() if level else pre_tokenizers.BertPreTokenizer()
    tokenizer.pre_tokenizer = pre
    tokenizer.add_special_tokens([AddedToken("[CLS]", normalized=False)])
    tokenizer.add_tokens([AddedToken("[mask]", normalized=True)])
    return tokenizer


@pytest.fixture(scope="module")
def contents(minilm) -> dict[str, str]:
    return {
        "minilm": (Path(minilm) / "tokenizer.json").read_text(),
        "cased": small(lower=False, level=False).to_str(),
        "words": small(lower=True, level=True).to_str(),
    }


@cache
def both(content: str, special: bool) -> tuple[FastTokenizer, Tokenizer]:
    """The same tokenizer with a table and as the library has it."""
    options = {"prompt": "", "query_prompt": "ask:the ", "max_length": LONGEST, "special": special}
    theirs = Tokenizer.from_str(content)
    theirs.no_padding()
    return FastTokenizer(content, **options), theirs


@pytest.mark.parametrize("name", ["minilm", "cased", "words"])
@pytest.mark.parametrize("special", [False, True])
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
def test_tokens_are_those_of_the_library(contents, name, special, texts) -> None:
    tokenizer, theirs = both(contents[name], special)
    assert tokenizer._words is not None
    theirs.no_truncation()
    whole = [len(theirs.encode(text, add_special_tokens=False).ids) for text in texts]
    theirs.enable_truncation(LONGEST)

    for query, prompt in ((False, ""), (True, "ask:the ")):
        tokens = tokenizer.tokenize(texts, query=query)
        lists = [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.offsets)]
        assert lists == [
            theirs.encode(prompt + text, add_special_tokens=special).ids for text in texts
        ]
    assert tokenizer.token_counts(texts).tolist() == whole


def test_a_word_is_asked_of_the_library_once(monkeypatch) -> None:
    asked: list[str] = []

    def encode(word: str) -> list[int]:
        asked.append(word)
        return [len(word)]

    table = WordTable(encode)
    for _ in range(2):
        assert np.frombuffer(table.ids("one two\tone\nthree"), np.int32).tolist() == [3, 3, 3, 5]
    assert asked == ["one", "two", "three"]

    long = "x" * (word_table.LONGEST_WORD + 1)
    table.ids(f"{long} {long}")
    assert asked[3:] == [long, long]

    monkeypatch.setattr(word_table, "MOST_WORDS", 3)
    table.ids("four")
    assert list(table) == ["four"]


@pytest.mark.parametrize(
    "changed",
    [
        {"pre_tokenizer": pre_tokenizers.Metaspace()},
        {"pre_tokenizer": None},
        {"normalizer": normalizers.Replace("a", "b")},
        {"added": AddedToken("[NEXT]", lstrip=True)},
        {"added": AddedToken("[NEXT]", rstrip=True)},
        {"added": AddedToken("two words")},
        {"model": BPE()},
    ],
    ids=str,
)
def test_a_tokenizer_that_looks_past_a_blank_has_no_table(contents, changed) -> None:
    tokenizer = Tokenizer.from_str(contents["cased"])
    assert has_words(tokenizer)
    tokenizer.normalizer = None
    assert has_words(tokenizer)

    added = changed.pop("added", None)
    if added:
        tokenizer.add_special_tokens([added])
    for part, value in changed.items():
        setattr(tokenizer, part, value)
    assert not has_words(tokenizer)


def test_special_tokens_are_the_librarys_where_no_table_can_tell_them() -> None:
    tokenizer = Tokenizer(WordLevel({"[CLS]": 0, "[SEP]": 1, "w1": 2, "[UNK]": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    options = {"prompt": "", "query_prompt": "", "max_length": 4, "special": True}
    assert FastTokenizer(tokenizer.to_str(), **options).tokenize(["w1 w1 w1"]).ids.tolist() == [
        *(0, 2, 2, 1)
    ]
    tokenizer.model = WordLevel({"[CLS]": 0, "[SEP]": 1, "w1": 2}, "[UNK]")  # no unknown word
    tokenizer.normalizer = normalizers.Replace("a", "")
    fast = FastTokenizer(tokenizer.to_str(), **options)
    assert fast._words is None
    assert fast.tokenize(["w1 w1 w1"]).ids.tolist() == [0, 2, 2, 1]
