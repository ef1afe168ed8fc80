"""An open_clip tokenizer as a serialised Rust tokenizer, where it can be said in those terms."""

from __future__ import annotations

from typing import Any

import open_clip
from open_clip import tokenizer as library
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

from tasks.embedders.exported.clip_tokenizer import CLEANING, ClipTokenizer
from tasks.embedders.exported.folder import ClipTokens

WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""How CLIP's own tokenizer splits text before its byte pairs are joined."""

END_OF_WORD = "</w>"


def converted(folder: str, width: int, samples: list[str]) -> tuple[str, ClipTokens] | None:
    """The tokenizer of the open_clip model in `folder`: its JSON, and what stands around it.

    None where it is of a kind that is not known here, or gives other ids for one of `samples`.
    """
    theirs = open_clip.get_tokenizer(f"local-dir:{folder}")
    made = _converted(theirs, width)
    if made is None:
        return None
    content, facts = made
    ours = ClipTokenizer(content, facts, prompt="", query_prompt="")
    same = (ours.tokenize(samples).ids.reshape(len(samples), -1) == theirs(samples).numpy()).all()
    return made if same else None


def _converted(theirs: Any, width: int) -> tuple[str, ClipTokens] | None:
    cleaning = next(
        (
            name
            for name in CLEANING
            if library.get_clean_fn(name) is getattr(theirs, "clean_fn", "")
        ),
        None,
    )
    if cleaning is None:
        return None
    if type(theirs) is library.SimpleTokenizer and theirs.reduction_fn is None:
        return _byte_pairs(theirs).to_str(), ClipTokens(cleaning, width, pad=0)
    if type(theirs) is library.HFTokenizer and not theirs.tokenizer_mode:
        inner = theirs.tokenizer
        backend = getattr(inner, "backend_tokenizer", None)
        if backend is None or inner.padding_side != "right":
            return None
        dropped = inner.sep_token_id if theirs.strip_sep_token else None
        pad = inner.pad_token_id or 0
        return backend.to_str(), ClipTokens(cleaning, width, pad, dropped, counted=False)
    return None


def _byte_pairs(theirs: Any) -> Tokenizer:
    """CLIP's own tokenizer: byte pairs within words, a mark at each word's end."""
    start, end = theirs.decoder[theirs.sot_token_id], theirs.decoder[theirs.eot_token_id]
    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.get)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=theirs.encoder,
            merges=[pair for pair in merges if len(pair) == 2],
            end_of_word_suffix=END_OF_WORD,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    specials = [(start, theirs.sot_token_id), (end, theirs.eot_token_id)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=specials
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token, _ in specials])
    return tokenizer
