"""Texts become batches, a slice ahead of the model where it would wait for its tokenizer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.errors import UsageError
from tasks.embedders import text_batches as module
from tasks.embedders.batching import BatchingEmbedder, done
from tasks.embedders.text_batches import slice_starts, text_batches
from tasks.embedders.tokens import Tokens


class Letters(BatchingEmbedder):
    """One token for each letter; a vector is the text's letters added up."""

    token_budget = 12

    def __init__(self, ahead: bool) -> None:
        super().__init__(SimpleNamespace(dimensions=1))  # type: ignore[arg-type]
        self.tokenizes_ahead = ahead
        self.calls: list[int] = []
        self.embedded = threading.Event()

    def tokenize(self, texts: Any, *, query: bool = False) -> Tokens:
        if "" in texts:
            raise UsageError("an empty text")
        self.calls.append(len(texts))
        return Tokens.from_lists([[ord(letter) for letter in text] for text in texts], query)

    def submit_tokens(self, tokens: Tokens, rows: np.ndarray) -> Any:
        self.embedded.set()
        ids, starts = tokens.ragged(rows)
        return done(np.add.reduceat(ids, starts).astype(np.float32)[:, None])


TEXTS = ["abc"[: 1 + i % 3] * (1 + i % 4) for i in range(100)]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch) -> None:
    monkeypatch.setattr(module, "FIRST_SLICE", 8)
    monkeypatch.setattr(module, "LARGEST_SLICE", 32)


@pytest.mark.parametrize("ahead", [False, True])
def test_every_text_is_in_one_batch_within_the_budget(ahead: bool) -> None:
    batches = list(text_batches(Letters(ahead), TEXTS))

    places = np.concatenate([batch.places for batch in batches])
    assert sorted(places.tolist()) == list(range(100))
    for batch in batches:
        lengths = [len(TEXTS[i]) for i in batch.places]
        assert batch.tokens.lengths[batch.rows].tolist() == lengths
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= 12


@pytest.mark.parametrize("ahead", [False, True])
def test_the_vectors_come_in_the_order_of_the_texts(ahead: bool) -> None:
    vectors = Letters(ahead).embed_texts(TEXTS)

    assert vectors[:, 0].tolist() == [sum(map(ord, text)) for text in TEXTS]


def test_slices_begin_small_and_grow() -> None:
    assert slice_starts(100, ahead=True) == [0, 8, 24, 56, 88]
    assert slice_starts(8, ahead=True) == [0]
    assert slice_starts(9, ahead=True) == [0, 8]
    assert slice_starts(100, ahead=False) == [0]
    embedder = Letters(ahead=True)
    embedder.embed_texts(TEXTS)
    assert embedder.calls == [8, 16, 32, 32, 12]


def test_the_next_slice_is_tokenized_while_the_last_is_embedded() -> None:
    class Waiting(Letters):
        def tokenize(self, texts: Any, *, query: bool = False) -> Tokens:
            if self.calls:  # every slice but the first
                assert self.embedded.wait(10)
            return super().tokenize(texts, query=query)

    assert len(Waiting(ahead=True).embed_texts(TEXTS)) == 100


def test_an_empty_text_is_refused_wherever_it_stands() -> None:
    with pytest.raises(UsageError, match="empty text"):
        Letters(ahead=True).embed_texts([*TEXTS, ""])


def test_no_texts_are_no_batches() -> None:
    assert list(text_batches(Letters(ahead=True), [])) == []
    assert Letters(ahead=False).embed_texts([]).shape == (0, 1)
