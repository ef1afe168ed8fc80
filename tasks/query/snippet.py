"""Text from documents, made fit for one line of a terminal or of a page.

Whatever a document holds may end up on a screen: control characters (terminal escapes among them)
and the characters that turn the writing direction are taken out here.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]+")
_BLANKS = re.compile(r"\s+")

ELLIPSIS = "…"


def one_line(text: str | None, width: int = 160) -> str:
    """`text` on one line of at most `width` code points; null becomes `""`.

    Cuts before it cleans, so that a book costs no more than a sentence.
    """
    if not text:
        return ""
    cleaned = _BLANKS.sub(" ", _UNSAFE.sub(" ", text[: 4 * width])).strip()
    if len(cleaned) <= width and len(text) <= 4 * width:
        return cleaned
    return cleaned[: width - 1].rstrip() + ELLIPSIS
