"""The shipped model: loads offline as anybody would load it, and knows what it was never shown."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from flows.demo.scenes import MODEL_FOLDER, VOCABULARY
from flows.demo.train_clip import measure


def test_it_finds_held_out_scenes_by_their_captions() -> None:
    assert measure(MODEL_FOLDER, 100).recall() >= 0.9


@pytest.fixture(scope="module")
def tokenizer() -> open_clip.tokenizer.HFTokenizer:
    return open_clip.get_tokenizer(f"local-dir:{MODEL_FOLDER}")


def test_every_word_of_the_captions_is_known(tokenizer: open_clip.tokenizer.HFTokenizer) -> None:
    numbers = tokenizer(list(VOCABULARY))[:, 0]
    assert sorted(numbers.tolist()) == list(range(2, 2 + len(VOCABULARY)))


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("A Big RED star", "a big red star"),
        ("a large gray ring", "a big grey ring"),
        ("an orange star", "a orange star"),
        ("a heart at the middle", "a heart at the centre"),
    ],
)
def test_what_people_type_means_the_same(
    tokenizer: open_clip.tokenizer.HFTokenizer, typed: str, known: str
) -> None:
    assert torch.equal(tokenizer(typed), tokenizer(known))


def test_other_words_are_unknown_not_an_error(
    tokenizer: open_clip.tokenizer.HFTokenizer,
) -> None:
    numbers = tokenizer("a zebra")[0].tolist()
    assert numbers[1] == tokenizer.tokenizer.unk_token_id


def test_the_folder_holds_no_pickle_and_is_small() -> None:
    files = {path.name: path.stat().st_size for path in Path(MODEL_FOLDER).iterdir()}
    assert set(files) == {
        *("README.md", "open_clip_config.json", "open_clip_model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert sum(files.values()) < 7_000_000
