"""Many byte strings looked for in files of any size, in one pass.

A few are searched for one by one, at some GB/s each. For more, every place of a block is judged by
its last bytes, two at a time, through tables of what the strings end in; the few places that
pass are compared. That costs the same for two strings and for two hundred. (Aho-Corasick would do
it exactly, but no library at hand runs it over bytes.)
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

BLOCK = 16 * 1024 * 1024
"""Bytes of a file in memory at a time."""

ONE_BY_ONE = 8
"""Strings up to which a pass for each is quicker: the tables cost about as much as ten."""

TAIL = 6
"""Bytes from a string's end that the tables know; a string must have as many."""


def found_in(path: Path, searched: Collection[bytes]) -> set[bytes]:
    """Which of the byte strings (of at least `TAIL` bytes) stand in the file."""
    wanted = set(searched)
    if not wanted:
        return set()
    overlap = max(map(len, wanted)) - 1
    look = _one_by_one if len(wanted) <= ONE_BY_ONE else _Tables(wanted).look
    found: set[bytes] = set()
    rest = b""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            window = rest + block
            found |= look(window, wanted - found)
            rest = window[-overlap:]
    return found


def _one_by_one(window: bytes, wanted: set[bytes]) -> set[bytes]:
    return {each for each in wanted if each in window}


class _Tables:
    """What the strings end in: for each pair of their last bytes, which values occur."""

    def __init__(self, wanted: set[bytes]) -> None:
        self._ends: dict[bytes, list[bytes]] = {}
        self._pairs = np.zeros((TAIL // 2, 1 << 16), bool)
        for each in wanted:
            tail = each[-TAIL:]
            self._ends.setdefault(tail, []).append(each)
            for at in range(TAIL // 2):
                self._pairs[at, tail[2 * at] | tail[2 * at + 1] << 8] = True

    def look(self, window: bytes, wanted: set[bytes]) -> set[bytes]:
        """Which of `wanted` stand in the window."""
        if len(window) < TAIL:
            return set()
        data = np.frombuffer(window, np.uint8)
        pairs = data[:-1] | data[1:].astype(np.uint16) << 8
        places = len(data) - TAIL + 1
        likely = self._pairs[0][pairs[:places]]
        for at in range(1, TAIL // 2):
            likely &= self._pairs[at][pairs[2 * at : 2 * at + places]]
        found: set[bytes] = set()
        for place in np.flatnonzero(likely).tolist():
            for each in self._ends.get(window[place : place + TAIL], ()):
                start = place + TAIL - len(each)
                if start >= 0 and window.startswith(each, start):
                    found.add(each)
        return found & wanted
