"""Texts to tokens with a `tokenizer.json` alone: the Rust tokenizer, without the library around it.

It is safe to use from several threads, and it tokenises a list of texts on every core (unless
`TOKENIZERS_PARALLELISM=false`) without holding Python's lock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from tasks.embedders.batching import refuse_empty
from tasks.embedders.description import UNBOUNDED
from tasks.embedders.tokens import Tokens


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

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """The texts behind their prompt, with special tokens, cut at the maximum length.

        Raises `UsageError` for an empty text.
        """
        refuse_empty(texts)
        prompt = self._prompts[query]
        behind = [prompt + text for text in texts] if prompt else list(texts)
        return Tokens.from_lists(self._ids(self._cutting, behind, self._special), query)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """Content tokens of each text, uncut, without special and prompt tokens: int32 `[n]`."""
        lists = self._ids(self._whole, list(texts), special=False)
        return np.fromiter(map(len, lists), np.int32, len(lists))

    @staticmethod
    def _ids(tokenizer: Tokenizer, texts: list[str], special: bool) -> list[list[int]]:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=special)
        return [encoding.ids for encoding in encodings]
