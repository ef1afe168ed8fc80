"""Tokens for an exported open_clip text tower, without open_clip and the torch that it imports.

    text ─ clean ─ prompt ─ BPE or the folder's own tokenizer ─ cut, padded → ids of one width

open_clip cleans text in Python and then tokenises it in Python too (CLIP's own BPE) or with a
tokenizer of the transformers library; here both are the Rust tokenizer, made from the same
vocabulary when the model is exported, and compared with open_clip's ids there.
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Tokenizer

from tasks.embedders.batching import refuse_empty
from tasks.embedders.exported.folder import ClipTokens
from tasks.embedders.tokens import Tokens

PLAIN = re.compile(r"[\n\t\x20-\x25\x27-\x7e]*")
"""Text in which neither an encoding nor an entity can need repair: ASCII without `&`."""

NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


class ClipTokenizer:
    """Texts to ids of one width. Safe to use from several threads."""

    def __init__(self, content: str, facts: ClipTokens, *, prompt: str, query_prompt: str) -> None:
        self._cutting, self._whole = Tokenizer.from_str(content), Tokenizer.from_str(content)
        for each in (self._cutting, self._whole):
            each.no_padding()
            each.no_truncation()
        self._cutting.enable_truncation(facts.width)
        self._facts = facts
        self._clean = CLEANING[facts.cleaning]
        self._prompts = {False: prompt, True: query_prompt}

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, cut or padded to the context length.

        Raises `UsageError` for an empty text.
        """
        refuse_empty(texts)
        prompt = self._prompts[query]
        cleaned = [self._clean(prompt + text) for text in texts]
        encodings = self._cutting.encode_batch_fast(cleaned)
        matrix = np.full((len(texts), self._facts.width), self._facts.pad, np.int32)
        for row, encoding in zip(matrix, encodings, strict=True):
            ids = encoding.ids
            row[: len(ids)] = ids
        if self._facts.dropped is not None:
            matrix[matrix == self._facts.dropped] = 0
        return Tokens.from_matrix(matrix, query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        counted = [self._clean(text) for text in texts] if self._facts.counted else list(texts)
        encodings = self._whole.encode_batch_fast(counted, add_special_tokens=False)
        return np.fromiter((len(encoding.ids) for encoding in encodings), np.int32, len(texts))


def _whitespace(text: str) -> str:
    return " ".join(_repaired(text).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonical(text: str) -> str:
    """Lower case without punctuation."""
    return " ".join(_repaired(text).translate(NO_PUNCTUATION).lower().split())


def _repaired(text: str) -> str:
    """Wrongly decoded text repaired and HTML entities resolved, also doubly escaped ones."""
    if PLAIN.fullmatch(text):
        return text
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


CLEANING: dict[str, Callable[[str], str]] = {
    "whitespace": _whitespace,
    "lower": _lower,
    "canonicalize": _canonical,
}
"""open_clip's name → the cleaning it stands for."""
