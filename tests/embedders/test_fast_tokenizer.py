"""The Rust tokenizer alone gives the tokens that the library's own tokenizer gives."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from schemas.errors import UsageError
from tasks.embedders.fast_tokenizer import FastTokenizer

TEXTS = ["A quick brown fox.", "naïve café — 東京", "x" * 300, "word " * 400, "\u200b\n\t a"]


@pytest.fixture(scope="module")
def content(minilm) -> str:
    return (Path(minilm) / "tokenizer.json").read_text()


def made(content: str, **changes) -> FastTokenizer:
    given = {"prompt": "", "query_prompt": "", "max_length": 64, "special": True}
    return FastTokenizer(content, **(given | changes))


def test_tokens_are_those_of_the_library(content, minilm) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(minilm)
    wanted = theirs(["ask: " + text for text in TEXTS], truncation=True, max_length=64)

    tokens = made(content, query_prompt="ask: ").tokenize(TEXTS, query=True)

    lists = [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.offsets)]
    assert lists == wanted["input_ids"]
    assert tokens.query


def test_counts_are_of_the_whole_text_without_special_tokens(content, minilm) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(minilm)
    wanted = [len(theirs.tokenize(text)) for text in TEXTS]

    assert made(content, prompt="doc: ").token_counts(TEXTS).tolist() == wanted
    assert max(wanted) > 64


def test_an_empty_text_is_refused(content) -> None:
    with pytest.raises(UsageError, match="empty text"):
        made(content).tokenize(["a", ""])
