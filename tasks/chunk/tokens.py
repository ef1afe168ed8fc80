"""Counting content tokens as the embedder will: its own tokenizer, uncut, without specials.

`load_tokens(name)` gives one `Tokens` a process and tokenizer: a `tokenizer.json` by its path, or
CLIP's own vocabulary, which open_clip carries in code (`OPEN_CLIP`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from tasks.chunk.bounds import bounding, sure_at_most
from tasks.chunk.gaps import last_gap

OPEN_CLIP = "open_clip:simple"
"""Names the tokenizer that has no file; its import costs that of open_clip and torch."""

CHARACTERS_AT_ONCE = 500_000
"""Texts tokenised in one call: an encoding takes about 150 bytes a token, so some 20 MB."""


class Tokens(Protocol):
    """A tokenizer, as far as chunking needs one."""

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """The content tokens of each text: int32 `[n]`."""
        ...

    def counts_within(self, texts: Sequence[str], limit: int) -> np.ndarray:
        """`counts`, but where a text surely has from 1 to `limit` tokens, any such number."""
        ...

    def cuts(self, text: str, limit: int) -> list[int]:
        """Where to cut a text into pieces of about `limit` tokens, between words where it can."""
        ...


class FileTokens:
    """The tokenizer of a `tokenizer.json`; its own truncation and padding are switched off."""

    def __init__(self, path: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._bounding = bounding(Path(path).read_text("utf-8"))

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """See `Tokens.counts`."""
        found = [
            len(encoding)
            for some in _slices(texts)
            for encoding in self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
        ]
        return np.array(found, np.int32)

    def counts_within(self, texts: Sequence[str], limit: int) -> np.ndarray:
        """See `Tokens.counts_within`. Only what is not sure by its length is tokenised."""
        if not self._bounding:
            return self.counts(texts)
        most = np.fromiter(map(sure_at_most, texts), np.int64, len(texts))
        unsure = np.flatnonzero((most == 0) | (most > limit)).tolist()
        most[unsure] = self.counts([texts[n] for n in unsure])
        return most.astype(np.int32)

    def cuts(self, text: str, limit: int) -> list[int]:
        """See `Tokens.cuts`. The text is tokenised once: tokens know where they begin."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        begins = list(accumulate((begin for begin, _ in offsets), max))
        places = [0]
        at = 0
        while len(begins) - at > limit:
            place = last_gap(text, begins[at + limit // 2], begins[at + limit])
            if place <= places[-1]:  # one code point of more tokens than the limit
                place = next((b for b in begins[at + limit :] if b > places[-1]), len(text))
            places.append(place)
            at = bisect_left(begins, place)
            if at == len(begins) or begins[at] > place:
                at -= 1  # a token that began with the blank before
        return [place for place in places if place < len(text)]


class CallableTokens:
    """Any function from a text to its token ids."""

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        self._encode = encode

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """See `Tokens.counts`."""
        return np.array([len(self._encode(text)) for text in texts], np.int32)

    def counts_within(self, texts: Sequence[str], limit: int) -> np.ndarray:
        """See `Tokens.counts_within`. Nothing is known of such a function before it is called."""
        return self.counts(texts)

    def cuts(self, text: str, limit: int) -> list[int]:
        """See `Tokens.cuts`. Such tokens do not know where they begin: one piece, cut by trial."""
        return [0]


@lru_cache(4)
def load_tokens(tokenizer: str) -> Tokens:
    """The tokenizer of that path or name, once per process."""
    if tokenizer == OPEN_CLIP:
        from open_clip.tokenizer import SimpleTokenizer

        return CallableTokens(SimpleTokenizer().encode)
    return FileTokens(tokenizer)


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, some at a time, bounded by their characters."""
    some: list[str] = []
    size = 0
    for text in texts:
        if some and size + len(text) > CHARACTERS_AT_ONCE:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    if some:
        yield some
