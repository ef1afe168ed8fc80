"""Where a paragraph that is too long is cut: at sentences, else at lines.

A sentence ends at its full stop where no small letter follows; usual abbreviations and initials end
none. A full stop that stands by itself, as in tokenised corpora, ends one, and an item of a list
begins one. A line break alone does not: prose is often wrapped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Fig", "Eq", "No", "vs", "cf", "e.g", "i.e")
"""After these a full stop ends no sentence, whatever follows."""

_NO_END = "".join(rf"(?<!\b{re.escape(word)}\.)" for word in ABBREVIATIONS) + r"(?<!\b[A-Z]\.)"
_CLOSING = "[\"'”’»)\\]]"

SENTENCE_START = re.compile(
    rf"(?:(?<=[.!?…]){_NO_END}|(?<=[.!?…]{_CLOSING}))\s+(?![a-z\s])"
    r"|(?<=\s[.!?])\s+(?=\S)"
    r"|(?<=[。！？])\s*(?=[^\s。！？」』）])"
    r"|\n[ \t]*(?=(?:[-*+•|>]|\d{1,3}[.)])[ \t])"
)
"""Matches up to where a sentence begins."""

LINE_START = re.compile(r"\n\s*(?=\S)")
"""Matches up to where a line begins."""

BORDERS: Sequence[re.Pattern[str]] = (SENTENCE_START, LINE_START)
"""The best first."""


def starts(border: re.Pattern[str], text: str, start: int, end: int) -> list[int]:
    """Where the pieces of `text[start:end]` begin, `start` among them."""
    inside = (match.end() for match in border.finditer(text, start, end))
    return [start, *(place for place in inside if start < place < end)]
