"""Texts of known words, for the small word model of the build tests."""

from __future__ import annotations

WORDS = 400


def sentence(*words: int) -> str:
    """A text of known words: `sentence(1, 2)` is "w1 w2"."""
    return " ".join(f"w{word % WORDS}" for word in words)
