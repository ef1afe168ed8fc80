"""Signatures of texts: found again by text, and how well they tell alike texts from others."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from made_records import made_records

from schemas.spec import DedupeSpec, NearSpec
from tasks.dedupe.near import find_near
from tasks.dedupe.texts.buckets import find_buckets
from tasks.dedupe.texts.minhash import fewest_equal, sign_texts, text_hashes
from tasks.store.merging import FEWEST_FILES, merge_signatures
from tasks.store.workdir import Store

SPEC = DedupeSpec(near=NearSpec())


def words(rng: random.Random, count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(count)]


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(len(text) - 4)}


def pairs(count: int) -> tuple[list[str], list[str], np.ndarray]:
    """Texts, copies of them with other words here and there, and how alike they are."""
    rng = random.Random(0)
    ones, others = [], []
    for _ in range(count):
        one = words(rng, 80)
        share = rng.random() / 3
        ones.append(" ".join(one))
        others.append(" ".join(words(rng, 1)[0] if rng.random() < share else w for w in one))
    alike = [
        len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))
        for a, b in zip(ones, others, strict=True)
    ]
    return ones, others, np.array(alike)


def test_equal_bytes_estimate_the_similarity() -> None:
    ones, others, alike = pairs(600)
    equal = (sign_texts(pa.array(ones)) == sign_texts(pa.array(others))).mean(axis=1)
    expected = alike + (1 - alike) / 256
    apart = alike < 1
    spread = np.sqrt(expected * (1 - expected) / 128)
    error = (equal - expected)[apart] / spread[apart]
    assert (equal[~apart] == 1).all()
    assert abs(error.mean()) < 0.15
    assert error.std() == pytest.approx(1, abs=0.15)
    at_threshold = alike >= 0.7
    assert (equal[at_threshold] * 128 >= fewest_equal(0.7)).all()


def test_alike_texts_share_a_bucket() -> None:
    ones, others, alike = pairs(600)
    buckets = find_buckets(sign_texts(pa.array([*ones, *others])))
    members: dict[int, set[int]] = {}
    for text, bucket in zip(buckets.text.tolist(), buckets.bucket.tolist(), strict=True):
        members.setdefault(bucket, set()).add(text)
    assert sorted(members) == list(range(buckets.count))
    assert all(len(each) > 1 for each in members.values())
    assert len({frozenset(each) for each in members.values()}) == buckets.count
    met = {(a, b) for each in members.values() for a in each for b in each if a < b}
    found = np.array([(i, i + 600) in met for i in range(600)])
    assert found[alike >= 0.7].all()
    expected = 1 - (1 - alike**4) ** 32
    assert found.mean() == pytest.approx(expected.mean(), abs=0.05)
    strangers = [pair for pair in met if pair[1] - pair[0] != 600]
    assert len(strangers) < 20  # of 700,000 pairs


def test_texts_have_hashes_of_their_own() -> None:
    texts = ["", "a", "b", "ab", "ba", "a\0", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaab", "ü", "u"]
    hashes = text_hashes(pa.array(texts))
    assert len({tuple(row) for row in hashes.tolist()}) == len(texts)
    assert len(set(hashes.ravel().tolist())) == 2 * len(texts)
    sliced = pa.array(["x", *texts])[1:]
    assert (text_hashes(sliced) == hashes).all()
    assert (text_hashes(pa.array(texts, pa.large_string())) == hashes).all()


def test_a_text_is_signed_once_whichever_file_it_stands_in(tmp_path, monkeypatch) -> None:
    import tasks.dedupe.texts.signatures as module

    signed: list[int] = []
    real = module.sign_compared
    monkeypatch.setattr(
        module, "sign_compared", lambda texts: (signed.append(len(texts)), real(texts))[1]
    )
    store = Store(str(tmp_path))
    texts = {f"k{i}": f"the text of number {i}, and more" for i in range(20)}
    find_near([made_records(store, texts)], [()], [], SPEC, store)
    longer = texts | {"new": "something else that is new"}
    find_near([made_records(store, longer, source="other")], [()], [], SPEC, store)
    assert signed == [20, 1]


def test_lost_signatures_are_made_again(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "one and the same text", "b": "one and the same text."})
    first = pl.read_parquet(find_near([part], [()], [], SPEC, store))
    for path in [*tmp_path.glob("signatures/*/*"), *tmp_path.glob("near/*")]:
        path.unlink()
    assert list(tmp_path.glob("text-hashes/*"))
    assert pl.read_parquet(find_near([part], [()], [], SPEC, store)).equals(first)
    assert first.height == 1


def test_merged_files_hold_what_the_small_ones_did(tmp_path) -> None:
    store = Store(str(tmp_path))
    rng = random.Random(3)
    base = " ".join(words(rng, 40))
    parts = []
    for number in range(FEWEST_FILES):
        texts = {f"k{number}": base + " x" * number, f"l{number}": " ".join(words(rng, 30))}
        parts.append(made_records(store, texts))
        path = find_near(parts, [()] * len(parts), [], SPEC, store)
    before = pl.read_parquet(path)
    assert merge_signatures(store, lambda: True) >= FEWEST_FILES
    assert len(list(tmp_path.glob("signatures/*/*"))) == 1
    for each in tmp_path.glob("near/*"):
        each.unlink()
    parts.append(made_records(store, {"z": base + " y"}))
    find_near(parts, [()] * len(parts), [], SPEC, store)
    assert len(list(tmp_path.glob("signatures/*/*"))) == 2  # only the new one was signed
    for each in tmp_path.glob("near/*"):
        each.unlink()
    assert pl.read_parquet(find_near(parts[:-1], [()] * len(parts[:-1]), [], SPEC, store)).equals(
        before
    )
