"""The blocks of a text: sections by Markdown headings, paragraphs by blank lines.

Headings are looked for in every text, whatever its file was called: a parquet column may hold
Markdown too. Code fences are opaque. A heading stays with what follows it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from tasks.chunk.gaps import last_gap

PARAGRAPH = 7
"""The level of a paragraph; those of sections are 1 to 6, as many as the heading has `#`."""

SENTENCE = 8
"""The level of a piece of a paragraph."""

_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+\S", re.MULTILINE)
_UNDERLINED = re.compile(
    r"(?:\A|(?<=\n)[^\S\n]*\n)(?P<title>[^\s#>*+|`~-][^\n]*)\n {0,3}(?P<line>={2,}|-{2,})[ \t]*$",
    re.MULTILINE,
)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """`text[start:end]`, up to where the next block begins; `body` is where its headings end."""

    start: int
    end: int
    level: int
    body: int


def find_blocks(text: str, longest: int) -> list[Block]:
    """The blocks of `text`, in order and without a gap.

    A block of more than `longest` characters is cut at a line, a sentence or a word.
    """
    breaks = _breaks(text)
    starts = sorted(breaks)
    blocks: list[Block] = []
    bare = False  # nothing stands below the last heading yet
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        level = breaks[start]
        if bare:
            before = blocks.pop()
            blocks.append(Block(before.start, end, min(before.level, level), start))
        else:
            blocks.append(Block(start, end, level, start))
        bare = level < PARAGRAPH and _only_heading(text[start:end])
    return [piece for block in blocks for piece in _cut(text, block, longest)]


def _breaks(text: str) -> dict[int, int]:
    """Where a block begins → its level."""
    found = {0: PARAGRAPH}
    found.update((m.end(), PARAGRAPH) for m in _BLANK.finditer(text) if m.end() < len(text))
    found.update((m.start(), len(m.group(1))) for m in _HEADING.finditer(text))
    for m in _UNDERLINED.finditer(text):
        found[m.start("title")] = 1 if m.group("line")[0] == "=" else 2
    fences = _fences(text)
    if not fences:
        return found
    opens, closes = [start for start, _ in fences], [end for _, end in fences]
    # A place is inside the fence that opened last before it, unless that one is closed again.
    last = {place: bisect_left(opens, place) - 1 for place in found}
    return {p: level for p, level in found.items() if last[p] < 0 or p >= closes[last[p]]}


def _fences(text: str) -> list[tuple[int, int]]:
    """The insides of closed code fences; one that never closes is ordinary text."""
    found: list[tuple[int, int]] = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match.group(1).startswith(opened.group(1)) and not match.group(2).strip():
            found.append((opened.start(), match.end()))
            opened = None
    return found


def _only_heading(section: str) -> bool:
    """Whether a section has a heading and nothing below it."""
    lines = section.strip().split("\n", 2)
    return len(lines) == 1 or (len(lines) == 2 and set(lines[1].strip()) in ({"="}, {"-"}))


def _cut(text: str, block: Block, longest: int) -> list[Block]:
    """The block in pieces of at most `longest` characters: the first one keeps its level."""
    pieces = []
    start = block.start
    level = block.level
    while block.end - start > longest:
        end = last_gap(text, start + longest // 2, start + longest)
        pieces.append(Block(start, end, level, max(start, min(block.body, end))))
        start, level = end, SENTENCE
    pieces.append(Block(start, block.end, level, max(start, block.body)))
    return pieces
