"""What is sure of a text's tokens before it is tokenised: that there is one, and how many at most.

Counting tokens costs as much as embedding with a static model. Where a tokenizer is one of the
common kinds, a short text is known to fit and to hold a token by its length alone; what is not
sure is tokenised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Any

NORMALIZERS = frozenset(
    ("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip")
)
"""They keep every letter and digit of ASCII (as a lower case one perhaps), and add nothing to it.
Not among them: what replaces or prepends by patterns of its own."""

PRE_TOKENIZERS = frozenset(
    ("BertPreTokenizer", "ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit")
)
"""They cut a text and lose nothing but blanks."""

EXPANSION = 18 * 4
"""Most bytes of a code point after normalisation: U+FDFA becomes 18 letters (NFKC), of at most
four bytes each in UTF-8."""

_ALPHANUMERIC = re.compile("[A-Za-z0-9]")


def bounding(tokenizer: str) -> bool:
    """Whether the texts of this serialised tokenizer (JSON) can be bounded: see `sure_at_most`."""
    content = json.loads(tokenizer)
    normalizers = set(_kinds(content.get("normalizer"), "normalizers"))
    pre_tokenizers = set(_kinds(content.get("pre_tokenizer"), "pretokenizers"))
    if not (normalizers <= NORMALIZERS and pre_tokenizers <= PRE_TOKENIZERS):
        return False
    model = content["model"]
    if model.get("type") in ("WordPiece", "WordLevel"):
        return model.get("unk_token") in model.get("vocab", {})
    if model.get("type") == "BPE":
        affixes = model.get("end_of_word_suffix"), model.get("continuing_subword_prefix")
        letters = set(ascii_letters + digits) <= set(model.get("vocab", {}))
        return "ByteLevel" in pre_tokenizers and letters and not any(affixes)
    return False


def _kinds(part: dict[str, Any] | None, inner: str) -> Iterator[str]:
    """The types of a part of a tokenizer, those of a sequence one by one."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part["type"]
        return
    for each in part[inner]:
        yield from _kinds(each, inner)


def sure_at_most(text: str) -> int:
    """No tokenizer for which `bounding` holds finds more tokens in the text, nor fewer than one.

    0 where it is not sure that there is a token at all.
    """
    if _ALPHANUMERIC.search(text) is None:
        return 0
    return (1 if text.isascii() else EXPANSION) * len(text) + 1  # one for a blank put before it
