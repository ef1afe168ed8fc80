"""Where texts are cut: at sections, then paragraphs, then sentences, never beyond the limit."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.identity import content_hashes
from tasks.chunk.split import cut_longer, split
from tasks.chunk.tokens import CallableTokens, FileTokens


def chunks(text: str, tokens, limit: int, overlap: int = 0) -> list[str]:
    (spans,) = split([text], tokens, limit, overlap)
    return [text[a:b] for a, b in spans]


def sentence(word: str, n: int = 9) -> str:
    return " ".join([word] * n) + "."


def test_a_text_that_fits_is_one_chunk(tokens):
    assert chunks("\n# Title\n\nOne paragraph.\n\nAnother.\n", tokens, 64) == [
        "# Title\n\nOne paragraph.\n\nAnother."
    ]


def test_sections_come_apart_before_paragraphs_do(tokens):
    one = f"## One\n\n{sentence('alpha')}\n\n{sentence('beta')}"
    two = f"## Two\n\n{sentence('gamma')}\n\n{sentence('delta')}"
    assert chunks(f"{one}\n\n{two}", tokens, 40) == [one, two]


def test_higher_headings_come_apart_before_lower_ones(tokens):
    parts = [
        f"# A\n\n{sentence('a')}\n\n## A1\n\n{sentence('b')}",
        f"# B\n\n{sentence('c')}\n\n## B1\n\n{sentence('d')}",
    ]
    assert chunks("\n\n".join(parts), tokens, 30) == parts


@pytest.mark.parametrize(
    "text",
    [
        f"Title\n=====\n\n{sentence('one')}\n\nOther\n-----\n\n{sentence('two')}",
        f"Title\n=====\n{sentence('one')}\n\nOther\n-----\n{sentence('two')}",
    ],
)
def test_underlined_headings_are_headings(tokens, text):
    first, second = chunks(text, tokens, 18)
    assert first.startswith("Title\n=====")
    assert second.startswith("Other\n-----")


def test_a_heading_stays_with_what_follows_it(tokens):
    text = f"# Title\n\n## Section\n\n{sentence('word', 30)} {sentence('other', 30)}"
    found = chunks(text, tokens, 36)
    assert found[0].startswith("# Title\n\n## Section\n\nword word")
    assert len(found) == 2


def test_a_hash_in_a_code_fence_is_no_heading(tokens):
    code = "```python\n# a comment\n\nx = 1\n\n# another\n```"
    text = f"{sentence('before', 20)}\n\n{code}\n\n{sentence('after', 20)}"
    assert chunks(text, tokens, 24) == [sentence("before", 20), code, sentence("after", 20)]


def test_a_fence_that_never_closes_hides_nothing(tokens):
    text = f"```\n\n# One\n\n{sentence('a')}\n\n# Two\n\n{sentence('b')}"
    assert [c[:5] for c in chunks(text, tokens, 18)] == ["```\n\n", "# Two"]


def test_small_sections_join_their_neighbours(tokens):
    text = "\n\n".join(f"## S{n}\n\nword" for n in range(6)) + "\n\n## Last\n\n" + sentence("z", 50)
    found = chunks(text, tokens, 60)
    assert found[-1] == "## Last\n\n" + sentence("z", 50)
    assert len(found) == 3  # not one for each of the six


def test_a_small_last_section_joins_the_one_before(tokens):
    big, small = f"## Big\n\n{sentence('word', 30)}", "## Licence\n\nMIT"
    more = f"## More\n\n{sentence('other', 30)}"
    assert chunks(f"{more}\n\n{big}\n\n{small}", tokens, 48) == [more, f"{big}\n\n{small}"]


def test_paragraphs_fill_a_chunk_and_are_not_cut(tokens):
    paragraphs = [sentence(word) for word in ("alpha", "bravo", "charlie", "delta")]
    assert chunks("\n\n".join(paragraphs), tokens, 20) == [
        "\n\n".join(paragraphs[:2]),
        "\n\n".join(paragraphs[2:]),
    ]


def test_a_long_paragraph_is_cut_at_sentences(tokens):
    sentences = [sentence(word) for word in ("Alpha", "Bravo", "Charlie", "Delta")]
    assert chunks(" ".join(sentences), tokens, 20) == [
        " ".join(sentences[:2]),
        " ".join(sentences[2:]),
    ]


def test_an_edit_in_one_section_leaves_the_chunks_of_the_others(tokens):
    rng = random.Random(7)
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]

    def paragraph() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(15, 60))) + "."

    sections = [
        [f"{'#' * rng.randint(1, 3)} Section {n}", *(paragraph() for _ in range(rng.randint(2, 8)))]
        for n in range(12)
    ]

    def hashes() -> list[set[bytes]]:
        text = "\n\n".join("\n\n".join(section) for section in sections)
        (spans,) = split([text], tokens, 64)
        starts = [text.index(section[0]) for section in sections] + [len(text)]
        return [
            set(content_hashes(text[a:b] for a, b in spans if low <= a < high).to_pylist())
            for low, high in pairwise(starts)
        ]

    before = hashes()
    sections[4].insert(2, "A new paragraph stands here, of some length, about something else.")
    after = hashes()
    assert [n for n in range(12) if before[n] != after[n]] == [4]
    assert before[4] & after[4]  # and of its own section what came before it


def test_overlap_repeats_the_last_words_of_the_chunk_before(tokens):
    text = " ".join(f"w{n}" for n in range(60))
    (spans,) = split([text], tokens, 20, 6)
    assert len(spans) > 3
    for (a, b), (c, _) in pairwise(spans):
        assert a < c < b
        assert text[c - 1] == " "
        assert 0 < tokens.counts([text[c:b]])[0] <= 6
    assert tokens.counts([text[a:b] for a, b in spans]).max() <= 20


UNBROKEN = {
    "letters": "x" * 5_000,
    "cjk": "".join(chr(0x4E00 + n * 37 % 5_000) for n in range(20_000)),
    "emoji": "👩‍👩‍👧🏽" * 3_000,
    "url": "https://example.com/" + "a/b?c=d&" * 3_000,
    "digits": "".join(str(n) for n in range(9_000)),
    "accents": "e\u0323\u0301" * 4_000,
    "blank lines": "a\n\n" * 5_000,
    "hashes": "# a\n" * 5_000,
    "fences": "```a\n" * 5_000,
    "spaces": "a" + " " * 50_000 + "b",
}


@pytest.mark.parametrize("name", UNBROKEN)
def test_text_without_a_place_to_cut_is_cut_all_the_same(tokens, name):
    text = UNBROKEN[name]
    start = time.perf_counter()
    (spans,) = split([text], tokens, 32)
    assert time.perf_counter() - start < 15
    check(text, spans, tokens, 32)


def test_a_document_of_megabytes_takes_seconds(tokens):
    rng = random.Random(1)
    words = ["alpha", "bravo", "charlie", "delta.", "echo"]
    text = "\n\n".join(" ".join(rng.choices(words, k=80)) for _ in range(4_000))
    assert len(text) > 1_500_000
    start = time.perf_counter()
    (spans,) = split([text], tokens, 256)
    assert time.perf_counter() - start < 15
    check(text, spans, tokens, 256)


def check(text: str, spans: list[tuple[int, int]], tokens, limit: int) -> None:
    """Disjoint, in order, trimmed, within the limit; all that is left out has no token."""
    borders = [0, *(place for span in spans for place in span), len(text)]
    assert borders == sorted(borders)
    assert all(text[a:b] and text[a:b] == text[a:b].strip() for a, b in spans)
    if spans:
        counts = tokens.counts([text[a:b] for a, b in spans])
        assert 0 < counts.min() <= counts.max() <= limit
    outside = [text[a:b].strip() for a, b in zip(borders[::2], borders[1::2], strict=True)]
    assert not tokens.counts([text for text in outside if text]).any()


ALPHABET = st.sampled_from(
    [
        *("a", "b", ".", "!", "?", ",", "#", "=", "-", "`", "~", " ", "\n", "\t", "\n\n"),
        *("\n# ", "\n## ", "```\n", "word ", "Dr. ", "https://a.b/c?d=e "),
        *("。", "漢字", "é", "e\u0301", "ﷺ", "𝔸", "👩\u200d👧", "🇩🇪"),
        *("\u200d", "\u200b", "\u00a0", "\x85", "\u2028", "\x1c"),
    ]
)


@pytest.fixture(scope="module", params=["wordpiece", "byte-bpe", "unigram"])
def any_tokens(request, tokens, tmp_path_factory):
    """MiniLM's tokenizer, and two small ones of the other families, where blanks count."""
    if request.param == "wordpiece":
        return tokens
    corpus = ["The word is a word. Dr. Who? https://a.b/c", *UNBROKEN.values()]
    corpus = [text[:2_000] for text in corpus]
    if request.param == "byte-bpe":
        made = tokenizers.ByteLevelBPETokenizer()
        made.train_from_iterator(corpus, vocab_size=400, show_progress=False)
    else:
        made = tokenizers.SentencePieceUnigramTokenizer()
        made.train_from_iterator(corpus, vocab_size=4_000, show_progress=False, unk_token="<unk>")
    path = tmp_path_factory.mktemp(request.param) / "tokenizer.json"
    made.save(str(path))
    return FileTokens(str(path))


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.lists(ALPHABET, max_size=120).map("".join), min_size=1, max_size=3),
    limit=st.integers(20, 48),
    overlap=st.integers(0, 4),
)
def test_any_text_is_covered_within_the_limit(any_tokens, texts, limit, overlap):
    tokens = any_tokens
    plain = split(texts, tokens, limit)
    shared = split(texts, tokens, limit, overlap)
    for text, spans, longer in zip(texts, plain, shared, strict=True):
        check(text, spans, tokens, limit)
        assert [b for _, b in longer] == sorted({b for _, b in longer})
        counts = tokens.counts([text[a:b] for a, b in longer])
        assert all(0 < count <= limit for count in counts)
        covered = "".join(text[a:b] for a, b in longer)
        silent = {c for c in text if c.isspace() or not tokens.counts([c])[0]}
        assert set(text) - set(covered) <= silent


def test_the_result_does_not_depend_on_the_batch(tokens):
    texts = [sentence(word, n) for word in ("a", "b") for n in (3, 30, 90)]
    together = split(texts, tokens, 16)
    assert together == [split([text], tokens, 16)[0] for text in texts]


def test_any_function_from_text_to_tokens_will_do():
    words = CallableTokens(str.split)
    assert chunks("one two three. four five six. seven", words, 3) == [
        "one two three.",
        "four five six.",
        "seven",
    ]


def test_cutting_by_trial_always_ends():
    letters = CallableTokens(list)
    assert chunks("一。一。一。一。", letters, 3) == ["一。", "一。", "一。", "一。"]
    assert chunks("一一一。", letters, 3) == ["一一一", "。"]


def test_chunks_beyond_the_models_own_window_are_cut_again(tokens):
    letters = CallableTokens(list)
    text = "alpha bravo charlie"
    assert [text[a:b] for a, b in cut_longer([text], [[(0, 19)]], letters, 11)[0]] == [
        "alpha bravo",
        "charlie",
    ]
