"""The last resort: where to cut text that has no better border near."""

from __future__ import annotations

import unicodedata

GAPS = ("\n", "。", ". ", "! ", "? ", " ", "\t")
"""After these one may cut, the best first."""

JOINER = "\u200d"


def last_gap(text: str, low: int, high: int) -> int:
    """The last good place to cut in `text[low:high]`; `high` itself where there is none.

    A blank at `high` is taken along, so the result may be one beyond it. A character is not parted
    from the marks that belong to it, as far as `low` allows.
    """
    for gap in GAPS:
        place = text.rfind(gap, low, high + 1)
        if place >= 0:
            return place + len(gap)
    place = high
    while place > low and _continues(text, place):
        place -= 1
    return place if place > low else high


def _continues(text: str, place: int) -> bool:
    """Whether the character at `place` belongs to the one before it."""
    if place >= len(text):
        return False
    here = text[place]
    return (
        unicodedata.combining(here) != 0
        or JOINER in (here, text[place - 1])
        or "\ufe00" <= here <= "\ufe0f"  # variation selectors
        or "\U0001f3fb" <= here <= "\U0001f3ff"  # skin tones
    )
