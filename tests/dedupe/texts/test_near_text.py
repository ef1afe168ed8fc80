"""Near-duplicate texts: what is marked, by what, and that neither arrival nor caches decide it."""

from __future__ import annotations

import random
import re
import tempfile
import unicodedata
from datetime import UTC, datetime
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import made_records

from schemas.identity import encode_key
from schemas.refs import RejectsRef
from schemas.spec import DedupeSpec, NearSpec
from tasks.dedupe.near import find_near
from tasks.store.workdir import RejectsWriter, Store

THRESHOLD = 0.7
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def shingles(text: str) -> set[str]:
    """Plain Python: what the definition says."""
    folded = unicodedata.normalize("NFKC", text).upper().lower()
    squeezed = re.sub(r"\s+", " ", folded).strip()
    return {squeezed[i : i + 5] for i in range(max(1, len(squeezed) - 4))} if squeezed else set()


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(count))


def edited(text: str, share: float, seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(LETTERS) if rng.random() < share else sign for sign in text)


def spec(threshold: float = THRESHOLD, within: Literal["space", "source"] = "space") -> DedupeSpec:
    return DedupeSpec(near=NearSpec(threshold=threshold), within=within)


def near(store: Store, *parts, wanted: DedupeSpec | None = None) -> dict[str, tuple[str, float]]:
    """Key of each marked record → key of the kept one, and the score."""
    path = find_near(parts, [()] * len(parts), [], wanted or spec(), store)
    rows = pl.read_parquet(path).select("key", "kept_key", "score").rows()
    return {key: (kept, score) for key, kept, score in rows}


def test_a_text_with_a_typo_points_to_the_one_kept(tmp_path) -> None:
    store = Store(str(tmp_path))
    text = words(1, 60)
    part = made_records(store, {"b": text, "a": text.replace("a", "o", 1), "c": words(2, 60)})
    kept, score = near(store, part)["b"]
    assert kept == "a"
    assert score == pytest.approx(jaccard(text, text.replace("a", "o", 1)), abs=1e-6)
    assert len(near(store, part)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The cat sat on the mat.", "the  CAT sat\non the mat. "),
        ("ﬁne prints cost more", "fine prints cost more"),  # a ligature
        ("Ｗｉｄｅ letters, a lot of them", "Wide letters, a lot of them"),
        ("STRASSE nach Süden", "Straße nach Su\u0308den"),
        ("ΟΔΟΣ ΑΘΗΝΑΣ", "οδος αθηνας"),
        ("a\u00a0space\u2003that\u2028breaks", "a space that breaks"),
    ],
)
def test_case_width_and_whitespace_do_not_matter(tmp_path, one: str, other: str) -> None:
    store = Store(str(tmp_path))
    [(_, score)] = near(store, made_records(store, {"a": one, "b": other})).values()
    assert score == 1.0


def test_short_texts_are_one_shingle_and_empty_ones_none(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "No.", "b": "no.", "c": "yes", "d": " ", "e": "\u2003"})
    assert near(store, part) == {"b": ("a", 1.0)}


def test_a_chain_does_not_mark_what_is_not_alike(tmp_path) -> None:
    """a ~ b ~ c, but a and c are not alike: c stays, and d, a copy of b, points to a."""
    store = Store(str(tmp_path))
    first = words(3, 80)
    half = len(first) // 8
    second = words(4, 80)[:half] + first[half:]
    third = second[:-half] + words(5, 80)[:half]
    assert jaccard(first, second) >= THRESHOLD
    assert jaccard(second, third) >= THRESHOLD
    assert jaccard(first, third) < THRESHOLD
    part = made_records(store, {"a": first, "b": second, "c": third, "d": second})
    found = near(store, part)
    assert {key: kept for key, (kept, _) in found.items()} == {"b": "a", "d": "a"}
    assert found["b"] == found["d"]


def test_the_earliest_is_kept_and_of_those_the_longest(tmp_path) -> None:
    store = Store(str(tmp_path))
    text = words(6, 60)
    times = {"a": datetime(2026, 3, 1, tzinfo=UTC), "b": datetime(2026, 1, 1, tzinfo=UTC)}
    part = made_records(store, {"a": text, "b": text + " x", "c": text + " xy"}, times=times)
    assert {key: kept for key, (kept, _) in near(store, part).items()} == {"a": "b", "c": "b"}
    part = made_records(store, {"a": text, "b": text + " x", "c": text + " xy"})
    assert {key: kept for key, (kept, _) in near(store, part).items()} == {"a": "c", "b": "c"}


def test_within_a_source(tmp_path) -> None:
    store = Store(str(tmp_path))
    text = words(7, 60)
    parts = [
        made_records(store, {"a": text, "b": text + " x"}, source="docs"),
        made_records(store, {"c": text, "d": words(8, 60)}, source="notes"),
    ]
    assert set(near(store, *parts)) == {"a", "c"}
    assert set(near(store, *parts, wanted=spec(within="source"))) == {"a"}


def test_a_rejected_record_neither_stands_nor_is_marked(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "the same text", "b": "the same text", "c": "the same text"})
    with RejectsWriter(store, "r", source="docs", kind="text", stage="validate") as writer:
        writer.add(key="a", reason="x", uri="u", part=part.digest, row=0)
    path = find_near([part], [(writer.ref,)], [], spec(), store)
    assert pl.read_parquet(path)["key"].to_list() == ["c"]
    assert pl.read_parquet(path)["kept_key"].to_list() == ["b"]


def test_keys_are_encoded_as_in_ids(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a:b#1": "the same text", "b": "the same text"})
    row = pl.read_parquet(find_near([part], [()], [], spec(), store)).row(0, named=True)
    assert row["kept_id"] == "docs:" + encode_key("a:b#1")
    assert (row["kept_source"], row["kept_key"], row["kind"]) == ("docs", "a:b#1", "text")


def test_off_finds_nothing(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "same", "b": "same"})
    assert find_near([part], [()], [], DedupeSpec(near=None), store) == ""
    assert not (tmp_path / "near").exists()


def test_what_was_found_is_not_looked_for_again(tmp_path, monkeypatch) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "same", "b": "same"})
    first = find_near([part], [()], [], spec(), store)
    monkeypatch.setattr("tasks.dedupe.near.FINDERS", {})
    assert find_near([part], [()], [], spec(), store) == first


def plain_marks(texts: dict[str, str], threshold: float) -> dict[str, tuple[str, float]]:
    """The rule in plain Python, over all pairs."""
    kept: list[str] = []
    marked: dict[str, tuple[str, float]] = {}
    for key in sorted(texts, key=lambda key: (-len(texts[key]), f"docs:{key}")):
        for other in kept:
            if (score := jaccard(texts[key], texts[other])) >= threshold:
                marked[key] = (other, pytest.approx(score, abs=1e-6))
                break
        else:
            kept.append(key)
    return marked


def corpus(seed: int, families: int) -> dict[str, str]:
    """Texts in families: an original and copies with more and more typos, some of them exact."""
    texts = {}
    rng = random.Random(seed)
    for family in range(families):
        text = words(1000 * seed + family, rng.randint(12, 60))
        for copy in range(rng.randint(1, 6)):
            share = rng.choice([0, 0, 0.005, 0.01, 0.02, 0.03])
            texts[f"{family}-{copy}"] = edited(text, share, rng.randrange(10**9))
    return texts


def test_the_marks_are_those_of_all_pairs(tmp_path) -> None:
    texts = corpus(1, 60)
    store = Store(str(tmp_path))
    assert near(store, made_records(store, texts)) == plain_marks(texts, THRESHOLD)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.randoms(use_true_random=False)
)
def test_marks_do_not_depend_on_arrival(seed: int, families: int, cuts: int, rng) -> None:
    """Shuffled, cut into other files, built at once or step by step: the same marks."""
    texts = corpus(seed, families)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        store = Store(one)
        expected = near(store, made_records(store, texts))
        keys = list(texts)
        rng.shuffle(keys)
        store = Store(other)
        parts, found = [], {}
        for cut in range(cuts):
            part = {key: texts[key] for key in keys[cut::cuts]}
            if part:
                parts.append(made_records(store, part, group=3))
                found = near(store, *parts)  # step by step: what came before is remembered
        assert found == expected
        kept = set(texts) - set(found)
        for key, (points_to, score) in found.items():
            assert points_to in kept
            assert score >= THRESHOLD - 1e-6
            assert score == pytest.approx(jaccard(texts[key], texts[points_to]), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_what_the_last_build_judged_decides_nothing(seed: int, rng) -> None:
    """Records come, leave and are timed anew, by few and by many: marks as from scratch."""
    texts = corpus(seed, 12)
    keep: tuple[Literal["earliest", "longest"], ...] = ("earliest", "longest")
    wanted = DedupeSpec(near=NearSpec(threshold=THRESHOLD), keep=keep)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        held = {key: 1 for key in texts if rng.random() < 0.7}
        for step in range(4):
            changes = rng.choice([1, 1, 3, 12])
            for key in rng.sample(sorted(texts), changes):
                if key in held and rng.random() < 0.5:
                    del held[key]
                else:
                    held[key] = rng.randint(1, 3)
            times = {key: datetime(2026, 1, day, tzinfo=UTC) for key, day in held.items()}
            part = {key: texts[key] for key in held}
            found = near(store, made_records(store, part, times=times), wanted=wanted)
            with tempfile.TemporaryDirectory() as other:
                fresh = Store(other)
                parts = made_records(fresh, part, times=times)
                assert near(fresh, parts, wanted=wanted) == found, step


def test_a_change_that_takes_the_kept_one_away_judges_the_rest_again(tmp_path) -> None:
    store = Store(str(tmp_path))
    texts = corpus(5, 20)
    near(store, made_records(store, texts))
    gone = {kept for kept, _ in plain_marks(texts, THRESHOLD).values()}
    left = {key: text for key, text in texts.items() if key not in gone}
    assert near(store, made_records(store, left)) == plain_marks(left, THRESHOLD)


def test_another_threshold_is_judged_by_its_own_comparisons(tmp_path) -> None:
    store = Store(str(tmp_path))
    texts = corpus(9, 30)
    part = made_records(store, texts)
    for threshold in (0.9, 0.6, 0.8):
        found = near(store, part, wanted=spec(threshold))
        assert found == plain_marks(texts, threshold)


def test_a_part_without_rejects_needs_no_file_of_them(tmp_path) -> None:
    store = Store(str(tmp_path))
    part = made_records(store, {"a": "same", "b": "same"})
    path = find_near([part], [(RejectsRef(""),)], [], spec(), store)
    assert pl.read_parquet(path).height == 1
