"""The spec's `chunk`, made definite for one embedder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.refs import EmbedderRef
from schemas.spec import SpaceSpec
from tasks.chunk.rule import ChunkRule, chunk_rule
from tasks.chunk.tokens import OPEN_CLIP, load_tokens


def rule(embedder: EmbedderRef, kind: str = "text", **chunk: object) -> ChunkRule:
    spec = SpaceSpec.model_validate(
        {
            "space": "s",
            "uri": "db",
            "sources": [{"name": "docs", "kind": kind, "path": "docs"}],
            "embedder": {"kind": embedder.kind, "model": "m"},
            "chunk": chunk.pop("chunk", chunk),
        }
    )
    return chunk_rule(spec, spec.sources[0], embedder)


def test_max_tokens_is_capped_at_the_models_window(embedder):
    assert rule(embedder, max_tokens=100).max_tokens == 100
    assert rule(embedder, max_tokens=5_000).max_tokens == 254
    assert rule(replace(embedder, window=None), max_tokens=5_000).max_tokens == 5_000


def test_whole_records_and_images_have_no_limit(embedder):
    whole, image = rule(embedder, chunk=None), rule(embedder, kind="image")
    assert (whole.chunked, whole.window, whole.model_tokenizer) == (False, 254, embedder.tokenizer)
    assert (image.chunked, image.kind, image.model_tokenizer) == (False, "image", None)


def test_overlap_beyond_half_a_chunk_is_refused(embedder):
    assert rule(embedder, max_tokens=100, overlap=50).overlap == 50
    with pytest.raises(UsageError, match=r"chunk\.overlap 51: expected at most half of the 100"):
        rule(embedder, max_tokens=100, overlap=51)
    with pytest.raises(UsageError, match=r"of the 254 tokens .*the model's window"):
        rule(embedder, max_tokens=500, overlap=200)


def test_another_tokenizer_is_found_in_its_folder(embedder, tokenizer):
    folder = str(Path(tokenizer).parent)
    found = rule(embedder, tokenizer=folder)
    assert found.tokenizer == tokenizer
    assert found.tokenizer_digest not in (None, embedder.tokenizer_digest)
    assert found.model_tokenizer_digest == embedder.tokenizer_digest
    with pytest.raises(UsageError, match=r"chunk\.tokenizer '/nowhere': there is no /nowhere"):
        rule(embedder, tokenizer="/nowhere")


def test_a_hub_id_that_cannot_be_had_is_a_usage_error(embedder):
    with pytest.raises(UsageError, match=r"chunk\.tokenizer 'no/such-model': neither a folder"):
        rule(embedder, tokenizer="no/such-model")


def test_clip_has_its_tokenizer_in_code(embedder):
    clip = replace(embedder, kind="open-clip", tokenizer=None, window=75)
    assert rule(clip).tokenizer == OPEN_CLIP
    with pytest.raises(UsageError, match=r"'all-MiniLM-L6-v2' has no tokenizer\.json"):
        rule(replace(embedder, tokenizer=None))


def test_tokens_are_counted_uncut_and_without_specials(tokenizer):
    tokens = load_tokens(tokenizer)
    assert tokens.counts(["word " * 300, "one two", ""]).tolist() == [300, 2, 0]
    assert load_tokens(tokenizer) is tokens
