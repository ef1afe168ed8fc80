"""Judging texts in order: the same as `keep_first` over all candidates, with fewer looks."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedupe.keep_first import keep_first
from tasks.dedupe.texts.buckets import find_buckets
from tasks.dedupe.texts.minhash import band_keys, sign_texts, text_hashes
from tasks.dedupe.texts.resemble import Judged, Pairs, judge_texts
from tasks.dedupe.texts.text_arrays import compared

LETTERS = "abcdefgh "


def judge(texts: Sequence[str], threshold: float, known: Pairs | None = None) -> Judged:
    array = pa.array(texts, pa.string())
    signatures = sign_texts(array)
    return judge_texts(
        signatures,
        text_hashes(array)[:, 0].copy(),
        find_buckets(signatures),
        lambda wanted: compared(array.take(pa.array(wanted))),
        threshold,
        known or Pairs.none(),
    )


def named(pairs: Pairs) -> set[tuple[int, int]]:
    return {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}


def jaccard(one: str, other: str) -> float:
    a, b = ({t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (one, other))
    return len(a & b) / len(a | b)


def family(rng: random.Random, copies: int, changes: int) -> list[str]:
    """An original of 300 characters and copies with a few others each."""
    base = "x" + "".join(rng.choices(LETTERS, k=300)).replace("  ", "ab") + "x"
    texts = [base]
    for _ in range(copies):
        signs = list(rng.choice(texts))
        for _ in range(rng.randint(0, changes)):
            signs[rng.randrange(1, len(signs) - 1)] = rng.choice("mnopq")
        texts.append("".join(signs))
    return list(dict.fromkeys(" ".join(text.split()) for text in texts))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 5), st.sampled_from([0.6, 0.7, 0.9]))
def test_it_is_the_greedy_choice(seed: int, families: int, threshold: float) -> None:
    rng = random.Random(seed)
    texts = list(dict.fromkeys(t for _ in range(families) for t in family(rng, 6, 14)))
    rng.shuffle(texts)
    keys = band_keys(sign_texts(pa.array(texts)))
    alike = [
        (i, j, score)
        for j in range(len(texts))
        for i in range(j)
        if (score := jaccard(texts[i], texts[j])) >= threshold and (keys[i] == keys[j]).any()
    ]
    first, second = (np.array([pair[k] for pair in alike], np.int64) for k in (0, 1))
    through = keep_first(len(texts), first, second)
    expected = [alike[pair][0] if pair >= 0 else -1 for pair in through.tolist()]
    judged = judge(texts, threshold)
    assert judged.through.tolist() == expected
    scores = [np.float32(alike[pair][2]) if pair >= 0 else 0 for pair in through.tolist()]
    assert judged.score.tolist() == pytest.approx(scores, abs=1e-7)
    half = len(texts) // 2  # what was compared among some of them is not compared again
    some = judge(texts[half:], threshold).compared
    again = judge(texts, threshold, some)
    assert again.through.tolist() == expected
    assert again.score.tolist() == judged.score.tolist()
    named = {*zip(some.first.tolist(), some.second.tolist(), strict=True)}
    assert not named & {
        *zip(again.compared.first.tolist(), again.compared.second.tolist(), strict=True)
    }


def test_letters_of_one_form_are_compared_with_the_first_alone() -> None:
    rng = random.Random(1)
    form = "".join(rng.choices(LETTERS, k=900))
    texts = [f"Dear number {number}, {form}" for number in range(500)]
    judged = judge(texts, 0.7)
    assert judged.through.tolist() == [-1] + [0] * 499
    assert len(judged.compared) == 499


def test_nothing_to_judge() -> None:
    judged = judge([], 0.7)
    assert len(judged.through) == len(judged.compared) == 0
