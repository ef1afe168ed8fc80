"""Texts into chunks of whole sections, whole paragraphs, whole sentences: in this order.

    text → blocks with token counts → packed into chunks → counted again, cut where still too long

A text that fits is one chunk. Otherwise it is split at its strongest headings; a section that fits
is one chunk, a longer one is split further by itself, so that an edit leaves the chunks of other
sections as they are. Only sections below a quarter of the limit join their neighbours. Paragraphs
of one section fill chunks up to the limit; a paragraph beyond it is cut at sentences, else words,
else graphemes, by semantic-text-splitter, which alone would fill chunks across sections and count
each of its trials anew.

A chunk is never longer than the limit, except that a grapheme is not split by characters: one that
is longer by itself is split by code points, and a code point that is longer stays whole.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.chunk.blocks import PARAGRAPH, SENTENCE, Block, find_blocks
from tasks.chunk.tokens import Tokens

FLOOR_SHARE = 4
"""A section below limit / 4 tokens joins its neighbour: alone it says too little to be found."""

STRETCH = 4_096
"""Characters given to semantic-text-splitter at once: on unbroken text its time is quadratic."""

_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff]|[^\s\u2e80-\u9fff\uac00-\ud7ff]+")

Span = tuple[int, int]
"""Start and end of a chunk, in code points."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text with its tokens, before it is packed."""

    start: int
    end: int
    tokens: int
    level: int

    def join(self, other: Piece) -> Piece:
        """This piece and the next one."""
        return Piece(self.start, other.end, self.tokens + other.tokens, self.level)


def split(texts: Sequence[str], tokens: Tokens, limit: int, overlap: int = 0) -> list[list[Span]]:
    """The chunks of each text: trimmed, in order, none without a token.

    `limit` is the most tokens of a chunk, `overlap` how many of them may repeat the end of the
    chunk before (whole words of it). Without overlap chunks are disjoint.
    """
    counts = _count_small(texts, tokens, limit)
    spans = [
        _trim(text, [(0, len(text))]) if n else [] for text, n in zip(texts, counts, strict=True)
    ]
    long = np.flatnonzero(counts > limit).tolist()
    some = [texts[n] for n in long]
    for n, chunks in zip(long, _pack_texts(some, tokens, limit - overlap), strict=True):
        spans[n] = chunks
        if overlap:
            spans[n] = _overlap(texts[n], chunks, tokens, limit, overlap)
    return spans


def _count_small(texts: Sequence[str], tokens: Tokens, limit: int) -> np.ndarray:
    """The tokens of each text; a huge text is not counted whole but said to be beyond the limit."""
    counts = np.full(len(texts), limit + 1)
    small = [n for n, text in enumerate(texts) if len(text) <= max(STRETCH, 16 * limit)]
    counts[small] = tokens.counts([texts[n] for n in small])
    return counts


def _pack_texts(texts: Sequence[str], tokens: Tokens, limit: int) -> list[list[Span]]:
    """The chunks of texts that are too long for one; tokenised all together."""
    blocks = [find_blocks(text, max(STRETCH, 4 * limit)) for text in texts]
    counts = iter(
        tokens.counts(
            [t[b.start : b.end] for t, bs in zip(texts, blocks, strict=True) for b in bs]
        ).tolist()
    )
    splitter = tokens.splitter(limit)
    chunks = []
    for text, some in zip(texts, blocks, strict=True):
        pieces: list[Piece] = []
        for block in some:
            count = next(counts)
            if count <= limit:
                pieces.append(Piece(block.start, block.end, count, block.level))
            else:
                pieces += _sentences(text, block, splitter, tokens)
        chunks.append(_trim(text, [(p.start, p.end) for p in _pack(pieces, limit)]))
    return cut_longer(texts, chunks, tokens, limit)


def _sentences(text: str, block: Block, splitter, tokens: Tokens) -> list[Piece]:
    """A block beyond the limit, cut. Its headings are kept with its first words."""
    heading = text[block.start : block.body].replace("\n", " ")
    body = text[block.body : block.end]
    found = splitter.chunk_indices(heading + body)
    starts = [block.start, *(block.start + at for at, _ in found[1:])]
    ends = [*starts[1:], block.end]
    counts = tokens.counts([text[a:b] for a, b in zip(starts, ends, strict=True)]).tolist()
    levels = [block.level, *[SENTENCE] * (len(starts) - 1)]
    return [Piece(*values) for values in zip(starts, ends, counts, levels, strict=True)]


def _pack(pieces: list[Piece], limit: int) -> list[Piece]:
    """Pieces joined into chunks of at most `limit` tokens, as far as single pieces allow."""
    if len(pieces) == 1:
        return pieces
    total = sum(piece.tokens for piece in pieces)
    if total <= limit:
        return [Piece(pieces[0].start, pieces[-1].end, total, pieces[0].level)]
    strongest = min(piece.level for piece in pieces[1:])
    if strongest >= PARAGRAPH:
        return _fill(pieces, limit)
    groups = [[pieces[0]]]
    for piece in pieces[1:]:
        if piece.level == strongest:
            groups.append([piece])
        else:
            groups[-1].append(piece)
    return _join_small([_pack(group, limit) for group in groups], limit)


def _fill(pieces: list[Piece], limit: int) -> list[Piece]:
    """Neighbouring paragraphs joined as long as they fit."""
    chunks = [pieces[0]]
    for piece in pieces[1:]:
        if chunks[-1].tokens + piece.tokens <= limit:
            chunks[-1] = chunks[-1].join(piece)
        else:
            chunks.append(piece)
    return chunks


def _join_small(sections: list[list[Piece]], limit: int) -> list[Piece]:
    """The chunks of neighbouring sections, where small whole ones take the next one in.

    The last section joins the one before it when it is small itself.
    """
    floor = limit // FLOOR_SHARE
    chunks: list[Piece] = []
    whole = False  # the last chunk is made of whole sections
    for n, section in enumerate(sections):
        last = n == len(sections) - 1
        small = whole and (chunks[-1].tokens < floor or (last and section[0].tokens < floor))
        if small and len(section) == 1 and chunks[-1].tokens + section[0].tokens <= limit:
            chunks[-1] = chunks[-1].join(section[0])
        else:
            chunks += section
            whole = len(section) == 1
    return chunks


def _trim(text: str, spans: list[Span]) -> list[Span]:
    """The spans without the blanks at their ends; blank ones are gone."""
    trimmed = []
    for start, end in spans:
        chunk = text[start:end]
        left = len(chunk) - len(chunk.lstrip())
        if left < len(chunk):
            trimmed.append((start + left, start + len(chunk.rstrip())))
    return trimmed


def cut_longer(
    texts: Sequence[str], spans: Sequence[Sequence[Span]], tokens: Tokens, limit: int
) -> list[list[Span]]:
    """Count each chunk as it stands; cut those beyond `limit`, drop those without a token.

    The tokens of blocks need not add up to those of their chunk, so packing alone does not do.
    """
    flat = [t[a:b] for t, some in zip(texts, spans, strict=True) for a, b in some]
    counts = iter(tokens.counts(flat).tolist())
    result = []
    for text, some in zip(texts, spans, strict=True):
        kept: list[Span] = []
        for start, end in some:
            count = next(counts)
            if count > limit:
                found = tokens.splitter(limit).chunk_indices(text[start:end])
                kept += _trim(text, [(start + at, start + at + len(c)) for at, c in found])
            elif count:
                kept.append((start, end))
        result.append(kept)
    return result


def _overlap(text: str, spans: list[Span], tokens: Tokens, limit: int, overlap: int) -> list[Span]:
    """Each chunk but the first begins with the last words of the one before it."""

    def too_long(start: int, begin: int, end: int) -> bool:
        shared, whole = tokens.counts([text[start:begin], text[start:end]])
        return shared > overlap or whole > limit

    extended = spans[:1]
    for before, (begin, end) in pairwise(spans):
        words = [before[0] + m.start() for m in _WORD.finditer(text[before[0] : before[1]])]
        # Fewer words need fewer tokens, so the first start that fits is found by halving.
        place = bisect_left(words, True, key=lambda s: not too_long(s, begin, end))
        extended.append((words[place] if place < len(words) else begin, end))
    return extended
