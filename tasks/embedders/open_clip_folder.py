"""Describe an open_clip folder: open_clip_config.json, safetensors weights, tokenizer files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from schemas.errors import UsageError
from schemas.spec import EmbedderSpec
from tasks.embedders.description import Description
from tasks.embedders.fingerprint import (
    file_digest,
    meaningful,
    tokenizer_digest,
    weights_digest,
)
from tasks.embedders.model_folder import ModelFolder
from tasks.embedders.sentence_transformers_folder import token_overhead

WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
)
"""In the order in which open_clip itself chooses."""

CONTEXT_LENGTH = 77
"""open_clip's default for a text tower whose config does not say."""

SIMPLE_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"


def describe(folder: ModelFolder, spec: EmbedderSpec) -> Description:
    """Describe the open_clip model in `folder`.

    Raises `UsageError` when it is not one, or is not safe to load.
    """
    config = folder.json("open_clip_config.json")
    model = config.get("model_cfg")
    if not model or "embed_dim" not in model:
        raise UsageError(
            f"embedder.model: {folder.path} has no open_clip_config.json with model_cfg.embed_dim: "
            f"expected a folder that open_clip loads as 'local-dir:'"
        )
    weights = _weights(folder)
    text = dict(model.get("text_cfg") or {})
    max_length = int(text.get("context_length", CONTEXT_LENGTH))
    own = bool(text.get("hf_tokenizer_name"))
    digest = tokenizer_digest(folder) if own else _simple_tokenizer_digest()
    if digest is None:
        raise UsageError(
            f"embedder.model: {folder.path} names the tokenizer {text['hf_tokenizer_name']!r} but "
            f"has no tokenizer.json: put the tokenizer's files into the folder"
        )
    prompt, query_prompt = spec.prompt or "", spec.query_prompt or ""
    special, prompt_tokens = token_overhead(
        folder.path / "tokenizer.json" if own else Path("-"), prompt
    )
    full = int(model["embed_dim"])
    if spec.dimensions is not None and spec.dimensions > full:
        raise UsageError(
            f"embedder.dimensions {spec.dimensions}: the model has {full} dimensions; "
            f"expected a number from 1 to {full}, or null for all"
        )
    tokenizer = folder.path / "tokenizer.json"
    text.pop("hf_tokenizer_name", None)  # a name: the folder's own files are what counts
    return Description(
        parts={
            "weights": weights_digest(weights),
            "tokenizer": digest,
            "own_tokenizer": own,
            "model": meaningful({**model, "text_cfg": text}),
            "preprocess": config.get("preprocess_cfg") or {},
        },
        dimensions=spec.dimensions or full,
        kinds=frozenset({"text", "image"}),
        max_length=max_length,
        window=max(1, max_length - special - prompt_tokens),
        tokenizer=str(tokenizer) if own and tokenizer.is_file() else None,
        tokenizer_digest=digest,
        prompt=prompt,
        query_prompt=query_prompt,
        truncate=spec.dimensions,
    )


def _weights(folder: ModelFolder) -> list[Path]:
    """The file that open_clip will load, which has to be safetensors."""
    if not any(folder.has(name) for name in WEIGHTS):
        others = sorted(folder.path.glob("*.safetensors"))
        if others:
            return [others[0]]
    return folder.weights(WEIGHTS)


def _simple_tokenizer_digest() -> str:
    """Digest of the vocabulary that open_clip carries for CLIP's own tokenizer."""
    package = find_spec("open_clip")
    places = list(package.submodule_search_locations or []) if package else []
    for place in places:
        if (vocabulary := Path(place) / SIMPLE_VOCABULARY).is_file():
            return file_digest(vocabulary)
    raise UsageError(
        f"embedder.kind open-clip: the installed open_clip has no {SIMPLE_VOCABULARY}, which this "
        f"model's tokenizer needs: install open-clip-torch again"
    )
