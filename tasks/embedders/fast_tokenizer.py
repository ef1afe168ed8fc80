"""Texts to tokens with a `tokenizer.json` alone: the Rust tokenizer, without the library around it.

Where it cuts at blanks, a table of words takes its place (`word_table.py`). It is safe to use from
several threads; the Rust tokenizer takes a list of texts on every core (unless
`TOKENIZERS_PARALLELISM=false`) without holding Python's lock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from tasks.embedders.batching import refuse_empty
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.tokens import Tokens
from tasks.embedders.word_table import WordTable, flat, has_words

PROBE = "a"
"""Some text, to see what special tokens stand around it."""

ID_BYTES = np.dtype(np.int32).itemsize


class FastTokenizer:
    """A tokenizer with the embedder's prompts and maximum length.

    `content` is the serialised tokenizer (JSON); `max_length` counts special and prompt tokens;
    `special`: whether special tokens are put around a text.
    """

    def __init__(
        self, content: str, *, prompt: str, query_prompt: str, max_length: int, special: bool
    ) -> None:
        # Truncation is the tokenizer's state: one that cuts and one that counts, and no lock.
        self._cutting, self._whole = Tokenizer.from_str(content), Tokenizer.from_str(content)
        for each in (self._cutting, self._whole):
            each.no_padding()
            each.no_truncation()
        if max_length < UNBOUNDED:
            self._cutting.enable_truncation(max_length)
        self._prompts = {False: prompt, True: query_prompt}
        self._special = special
        self._around = self._special_ids() if special else (b"", b"")
        known = self._around is not None and has_words(self._whole)
        self._words = WordTable(self._word) if known else None
        self._longest = max(0, max_length * ID_BYTES - sum(map(len, self._around or ())))

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length.

        Raises `UsageError` for an empty text.
        """
        refuse_empty(texts)
        prompt = self._prompts[query]
        behind = [prompt + text for text in texts] if prompt else list(texts)
        if self._words is not None and self._around is not None:
            (before, after), cut = self._around, self._longest
            ids = self._words.ids
            return Tokens(*flat([before + ids(text)[:cut] + after for text in behind]), query)
        return Tokens.from_lists(self._ids(self._cutting, behind, self._special), query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        if self._words is not None:
            _, offsets = flat([self._words.ids(text) for text in texts])
            return np.diff(offsets).astype(np.int32)
        lists = self._ids(self._whole, list(texts), special=False)
        return np.fromiter(map(len, lists), np.int32, len(lists))

    def _word(self, word: str) -> list[int]:
        return self._whole.encode(word, add_special_tokens=False).ids

    def _special_ids(self) -> tuple[bytes, bytes] | None:
        """What stands before and after a text: the special tokens, as bytes of int32.

        None where that cannot be told: the tokenizer knows no token for `PROBE`.
        """
        bare, whole = (self._ids(self._whole, [PROBE], special)[0] for special in (False, True))
        starts = (i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare)
        start = next(starts, None)
        if start is None:
            return None
        before, after = whole[:start], whole[start + len(bare) :]
        return np.asarray(before, np.int32).tobytes(), np.asarray(after, np.int32).tobytes()

    @staticmethod
    def _ids(tokenizer: Tokenizer, texts: list[str], special: bool) -> list[list[int]]:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=special)
        return [encoding.ids for encoding in encodings]
