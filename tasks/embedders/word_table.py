"""Tokens by a table of words: five to ten times the speed of the library, and the same tokens.

    text ─ cut at blanks ─ table: word → its ids, as bytes ─ joined: the text's ids
                             └ new word: asked of the library, kept

The tokenizers of BERT and of static models cut at blanks before anything else, so what stands
between two blanks has the same ids in every text, and a corpus has few such words. Which tokenizers
do is in their file; for any other there is no table. The library works out positions and masks for
each token, which nobody here needs: that is what its 1 to 2 µs a token go to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import AddedToken, Tokenizer

MOST_WORDS = 250_000
"""Words kept, some 50 MB; a corpus with more begins a new table now and then."""

LONGEST_WORD = 64
"""Characters; what is longer (a URL, encoded bytes) hardly comes twice, and is not kept."""

NORMALIZERS = frozenset({"NoneType", "BertNormalizer", "Lowercase"})
PRE_TOKENIZERS = frozenset({"BertPreTokenizer", "Whitespace", "WhitespaceSplit"})
MODELS = frozenset({"WordPiece", "WordLevel"})
"""The parts of a tokenizer that look no further than from one blank to the next."""

Encode = Callable[[str], list[int]]
"""The library's ids of a text, without special tokens."""


class WordTable(dict[str, bytes]):
    """Word → its ids, as bytes of int32. Safe to use from several threads."""

    def __init__(self, encode: Encode) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, word: str) -> bytes:
        ids = np.asarray(self._encode(word), np.int32).tobytes()
        if len(word) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def ids(self, text: str) -> bytes:
        """The text's ids, as bytes of int32: what the library gives for the whole of it."""
        words = text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")
        return b"".join(map(self.__getitem__, words))


def has_words(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer cuts at blanks first, whatever comes after."""
    return (
        type(tokenizer.normalizer).__name__ in NORMALIZERS
        and type(tokenizer.pre_tokenizer).__name__ in PRE_TOKENIZERS
        and type(tokenizer.model).__name__ in MODELS
        and not any(map(_reaches_out, tokenizer.get_added_tokens_decoder().values()))
    )


def _reaches_out(token: AddedToken) -> bool:
    """Whether the added token's name holds a blank, or takes in those around it."""
    return token.content.split() != [token.content] or token.lstrip or token.rstrip


def flat(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Ids one after the other (int32), and where each text begins and the last ends (int64)."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    np.cumsum(lengths // np.dtype(np.int32).itemsize, out=offsets[1:])
    return np.frombuffer(b"".join(texts), np.int32), offsets
