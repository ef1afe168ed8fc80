"""Where sentences begin, and where text is cut that has none."""

from __future__ import annotations

import pytest

from tasks.chunk.gaps import last_gap
from tasks.chunk.sentences import SENTENCE_START, starts


def sentences(text: str) -> list[str]:
    places = starts(SENTENCE_START, text, 0, len(text))
    return [text[a:b] for a, b in zip(places, [*places[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    "parts",
    [
        ["One is here. ", "Two is there! ", "Is three?  ", "Four."],
        ['He said "no." ', "She left."],
        ["Dr. Smith met J. Doe, e.g. on Mondays, vs. Fig. 3 of it. ", "Then he left."],
        ["Version 3.11 of example.com/a.b is out. ", "Get it."],
        ["it was , in fact , dense . ", "the flow was not ."],
        ["wrapped prose goes\nover its line. ", "And on\nagain."],
        ["A list:\n", "- one\n", "- two\n", "1. three"],
        ["第一句。", "第二句！", "第三句"],
        ["etc. and so on, i.e. all of it"],
        ["no border at all"],
    ],
    ids=lambda parts: parts[0][:12],
)
def test_sentences(parts):
    assert sentences("".join(parts)) == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three four", "one two three "),
        ("one two\nthree four", "one two\n"),
        ("abcdefghijklmnopqrst", "abcdefghijklmnop"),
        ("abcdefghijklmno\u0301\u0323pq", "abcdefghijklmn"),
    ],
    ids=["word", "line", "anywhere", "not before a mark"],
)
def test_a_cut_where_there_is_no_sentence(text, expected):
    assert text[: last_gap(text, 4, 16)] == expected
