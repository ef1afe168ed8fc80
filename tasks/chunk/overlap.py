"""Chunks that begin with the last words of the one before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tasks.chunk.tokens import Tokens

_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff]|[^\s\u2e80-\u9fff\uac00-\ud7ff]+")

CHARACTERS_A_TOKEN = 16
"""Only so much of the chunk before is looked at for each token that may repeat."""

Span = tuple[int, int]


def overlapping(
    text: str, spans: Sequence[Span], tokens: Tokens, limit: int, overlap: int
) -> list[Span]:
    """Each chunk but the first, begun earlier: by whole words, at most `overlap` tokens of them,
    as far as the chunk stays within `limit`.
    """
    words = [_last_words(text, a, b, overlap) for (a, b), _ in pairwise(spans)]
    counts = iter(_count_words(text, words, tokens))
    begins = [spans[0][0]] if spans else []
    choices: list[list[int]] = [[]]  # where else it may begin, the earliest first
    for some, (_, (begin, _)) in zip(words, pairwise(spans), strict=True):
        sizes = np.array([next(counts) for _ in some], np.int64)
        fitting = np.cumsum(sizes[::-1])[::-1] <= overlap  # from each word to the end
        starts = [a for (a, _), fits in zip(some, fitting, strict=True) if fits]
        begins.append(starts[0] if starts else begin)
        choices.append([*starts[1:], begin])
    return _shortened(text, spans, begins, choices, tokens, limit, overlap)


def _last_words(text: str, start: int, end: int, overlap: int) -> list[Span]:
    """The last words of a chunk, but never its first: it is not repeated whole."""
    low = max(start, end - CHARACTERS_A_TOKEN * overlap)
    words = [match.span() for match in _WORD.finditer(text, low, end)]
    return words[1:][-overlap:]


def _count_words(text: str, words: list[list[Span]], tokens: Tokens) -> list[int]:
    flat = [text[a:b] for some in words for a, b in some]
    return tokens.counts(flat).tolist() if flat else []


def _shortened(
    text: str,
    spans: Sequence[Span],
    begins: list[int],
    choices: list[list[int]],
    tokens: Tokens,
    limit: int,
    overlap: int,
) -> list[Span]:
    """Count as the text stands, and give up one word after another where it is too much."""
    open_ = [n for n, (start, _) in enumerate(spans) if begins[n] < start]
    while open_:
        shared = tokens.counts([text[begins[n] : spans[n][0]] for n in open_])
        whole = tokens.counts([text[begins[n] : spans[n][1]] for n in open_])
        too_long = np.flatnonzero((shared > overlap) | (whole > limit)).tolist()
        open_ = [open_[place] for place in too_long]
        for n in open_:
            begins[n] = choices[n].pop(0)
        open_ = [n for n in open_ if begins[n] < spans[n][0]]
    return [(begin, end) for begin, (_, end) in zip(begins, spans, strict=True)]
