"""Texts into chunks of whole sections, whole paragraphs, whole sentences: in this order.

    text → blocks → what is too long by itself cut → packed into chunks → counted again

A text that fits is one chunk. Otherwise it is split at its strongest headings; a section that fits
is one chunk, a longer one is split further by itself, so that an edit leaves the chunks of other
sections as they are. Only sections below a quarter of the limit join their neighbours. Paragraphs
of one section fill chunks up to the limit; a paragraph beyond it is cut at sentences, else lines,
else words, else anywhere. All of these are tokenised once; a chunk is then counted as it stands.
(semantic-text-splitter counts each of its trials anew: up to twice the time on documents, quadratic
on unbroken text; and it fills chunks across sections, so that an edit moves every border after it.)

A chunk is never longer than the limit, but for a single code point that is (a ligature which the
tokenizer writes out): it stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.chunk.blocks import PARAGRAPH, Block, find_blocks
from tasks.chunk.gaps import last_gap
from tasks.chunk.overlap import Span, overlapping
from tasks.chunk.sentences import BORDERS, starts
from tasks.chunk.tokens import Tokens

FLOOR_SHARE = 4
"""A section below limit / 4 tokens joins its neighbour: alone it says too little to be found."""

STRETCH = 4_096
"""The longest block, in characters: what is tokenised at once, and an edit can move."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text with its tokens; `body` is where its headings end."""

    start: int
    end: int
    tokens: int
    level: int
    body: int

    def join(self, other: Piece) -> Piece:
        """This piece and the next one."""
        return Piece(self.start, other.end, self.tokens + other.tokens, self.level, self.body)


Pieces = list[Piece]


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
            spans[n] = overlapping(texts[n], chunks, tokens, limit, overlap)
    return spans


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
                kept += _by_trial(text, start, end, tokens, limit)
            elif count:
                kept.append((start, end))
        result.append(kept)
    return result


def _by_trial(text: str, start: int, end: int, tokens: Tokens, limit: int) -> list[Span]:
    """Cut where the limit should be by the share of characters, until every piece is within it."""
    kept: list[Span] = []
    ahead = [(start, end)]
    while ahead:
        for begin, stop in _trim(text, [ahead.pop()]):
            count = int(tokens.counts([text[begin:stop]])[0])
            room = (stop - begin) * limit // max(count, 1)
            if count <= limit or stop - begin == 1:
                kept += [(begin, stop)] * bool(count)
                continue
            place = last_gap(text, begin + room // 2, begin + max(room, 1))
            place = min(place, stop - 1)  # a full stop at the very end is no way forward
            ahead += [(place, stop), (begin, place)]
    return kept


def _count_small(texts: Sequence[str], tokens: Tokens, limit: int) -> np.ndarray:
    """The tokens of each text, roughly: what matters is which have none, or more than the limit.

    A huge text is not counted whole but said to be beyond it.
    """
    counts = np.full(len(texts), limit + 1)
    small = [n for n, text in enumerate(texts) if len(text) <= max(STRETCH, 16 * limit)]
    counts[small] = tokens.counts_within([texts[n] for n in small], limit)
    return counts


def _pack_texts(texts: Sequence[str], tokens: Tokens, limit: int) -> list[list[Span]]:
    """The chunks of texts that are too long for one; tokenised all together."""
    blocks = [find_blocks(text, max(STRETCH, 4 * limit)) for text in texts]
    pieces = _counted(texts, blocks, tokens)
    for depth, border in enumerate(BORDERS, PARAGRAPH + 1):
        parts = [
            [part for piece in some for part in _cut(text, piece, border, depth, limit)]
            for text, some in zip(texts, pieces, strict=True)
        ]
        pieces = _counted(texts, parts, tokens, pieces)
    chunks = []
    for text, some in zip(texts, pieces, strict=True):
        small = [p for piece in some for p in _words(text, piece, tokens, limit)]
        chunks.append(_trim(text, [(p.start, p.end) for p in _pack(small, limit)]))
    return cut_longer(texts, chunks, tokens, limit)


def _counted(
    texts: Sequence[str],
    blocks: Sequence[Sequence[Block]],
    tokens: Tokens,
    known: Sequence[Pieces] = (),
) -> list[Pieces]:
    """The blocks with their tokens, which `known` pieces of the same extent give already."""
    old = [{(p.start, p.end): p.tokens for p in some} for some in known] or [{} for _ in texts]
    new = [
        text[b.start : b.end]
        for text, some, have in zip(texts, blocks, old, strict=True)
        for b in some
        if (b.start, b.end) not in have
    ]
    counts = iter(tokens.counts(new).tolist() if new else [])
    return [
        [
            Piece(b.start, b.end, n if n is not None else next(counts), b.level, b.body)
            for b in some
            for n in (have.get((b.start, b.end)),)
        ]
        for some, have in zip(blocks, old, strict=True)
    ]


def _cut(text: str, piece: Piece, border, level: int, limit: int) -> list[Block]:
    """A piece beyond the limit, cut at a border; its headings stay with its first words."""
    if piece.tokens <= limit:
        return [Block(piece.start, piece.end, piece.level, piece.body)]
    places = starts(border, text, piece.body, piece.end)
    places[0] = piece.start
    levels = [piece.level, *[level] * (len(places) - 1)]
    bodies = [piece.body, *places[1:]]
    ends = [*places[1:], piece.end]
    return [Block(*each) for each in zip(places, ends, levels, bodies, strict=True)]


def _words(text: str, piece: Piece, tokens: Tokens, limit: int) -> Pieces:
    """A piece that is still too long, cut between words or inside them."""
    if piece.tokens <= limit:
        return [piece]
    heading = text[piece.start : piece.body].replace("\n", " ")  # or it would be a chunk itself
    found = tokens.cuts(heading + text[piece.body : piece.end], limit)
    places = [piece.start + at for at in found]
    ends = [*places[1:], piece.end]
    counts = tokens.counts([text[a:b] for a, b in zip(places, ends, strict=True)]).tolist()
    finest = PARAGRAPH + 1 + len(BORDERS)
    levels = [piece.level, *[finest] * (len(places) - 1)]
    return [Piece(*each) for each in zip(places, ends, counts, levels, places, strict=True)]


def _pack(pieces: Pieces, limit: int) -> Pieces:
    """Pieces joined into chunks of at most `limit` tokens, as far as single pieces allow."""
    if len(pieces) == 1:
        return pieces
    total = sum(piece.tokens for piece in pieces)
    if total <= limit:
        return [Piece(pieces[0].start, pieces[-1].end, total, pieces[0].level, pieces[0].body)]
    strongest = min(piece.level for piece in pieces[1:])
    groups = [[pieces[0]]]
    for piece in pieces[1:]:
        if piece.level == strongest:
            groups.append([piece])
        else:
            groups[-1].append(piece)
    packed = [_pack(group, limit) for group in groups]
    return _join_small(packed, limit) if strongest < PARAGRAPH else _fill(packed, limit)


def _fill(groups: list[Pieces], limit: int) -> Pieces:
    """Neighbouring paragraphs or sentences joined as long as they fit."""
    chunks: Pieces = []
    for piece in (piece for group in groups for piece in group):
        if chunks and chunks[-1].tokens + piece.tokens <= limit:
            chunks[-1] = chunks[-1].join(piece)
        else:
            chunks.append(piece)
    return chunks


def _join_small(sections: list[Pieces], limit: int) -> Pieces:
    """The chunks of neighbouring sections, where small whole ones take the next one in.

    The last section joins the one before it when it is small itself.
    """
    floor = limit // FLOOR_SHARE
    chunks: Pieces = []
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


def _trim(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans without the blanks at their ends; blank ones are gone."""
    trimmed = []
    for start, end in spans:
        chunk = text[start:end]
        left = len(chunk) - len(chunk.lstrip())
        if left < len(chunk):
            trimmed.append((start + left, start + len(chunk.rstrip())))
    return trimmed
