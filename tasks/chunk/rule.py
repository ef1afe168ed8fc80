"""How the records of one source are cut: the spec's `chunk`, made definite for one embedder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UsageError
from schemas.identity import digest_bytes, digest_json
from schemas.refs import EmbedderRef
from schemas.spec import ChunkSpec, SourceSpec, SpaceSpec
from tasks.chunk.tokens import OPEN_CLIP

MAX_OVERLAP_SHARE = 2
"""Overlap may take at most half of a chunk: with more, most text is embedded three times."""


@dataclass(frozen=True)
class ChunkRule:
    """What `chunk_part` needs to know; it travels to other processes.

    `max_tokens` is None for whole records and for images. `tokenizer` counts chunks;
    `model_tokenizer` is the embedder's own, which decides what fits into its `window`. Each is the
    path of a `tokenizer.json`, or `OPEN_CLIP`, or None where no text comes.
    """

    kind: str
    max_tokens: int | None
    overlap: int = 0
    window: int | None = None
    tokenizer: str | None = None
    tokenizer_digest: str | None = None
    model_tokenizer: str | None = None
    model_tokenizer_digest: str | None = None

    @property
    def chunked(self) -> bool:
        """Whether records are cut, and ids say so."""
        return self.max_tokens is not None

    @property
    def digest(self) -> str:
        """Names the rule by what it does, not by where its tokenizers lie."""
        return digest_json(
            [
                *(self.kind, self.max_tokens, self.overlap, self.window),
                *(self.tokenizer_digest, self.model_tokenizer_digest),
            ]
        )


def chunk_rule(spec: SpaceSpec, source: SourceSpec, embedder: EmbedderRef) -> ChunkRule:
    """The rule for `source`. `max_tokens` is capped at the embedder's window.

    Raises `UsageError` for an overlap beyond half a chunk and for a tokenizer that is not there.
    """
    if source.kind == "image":
        return ChunkRule(kind="image", max_tokens=None)
    own, own_digest = _own_tokenizer(embedder)
    if spec.chunk is None:
        return ChunkRule(
            kind="text",
            max_tokens=None,
            window=embedder.window,
            model_tokenizer=own,
            model_tokenizer_digest=own_digest,
        )
    limit = min(spec.chunk.max_tokens, embedder.window or spec.chunk.max_tokens)
    if spec.chunk.overlap > limit // MAX_OVERLAP_SHARE:
        raise UsageError(
            f"chunk.overlap {spec.chunk.overlap}: expected at most half of the {limit} tokens that "
            f"a chunk may have ({_why(spec.chunk, limit)}): lower chunk.overlap"
        )
    path, digest = own, own_digest
    if spec.chunk.tokenizer is not None:
        path = _find_tokenizer(spec.chunk.tokenizer)
        digest = _file_digest(path)
    return ChunkRule(
        kind="text",
        max_tokens=limit,
        overlap=spec.chunk.overlap,
        window=embedder.window,
        tokenizer=path,
        tokenizer_digest=digest,
        model_tokenizer=own,
        model_tokenizer_digest=own_digest,
    )


def _why(chunk: ChunkSpec, limit: int) -> str:
    if limit == chunk.max_tokens:
        return "chunk.max_tokens"
    return f"the model's window; chunk.max_tokens {chunk.max_tokens} is more than it takes"


def _own_tokenizer(embedder: EmbedderRef) -> tuple[str, str]:
    """The embedder's tokenizer and its digest."""
    if embedder.tokenizer is not None:
        return embedder.tokenizer, embedder.tokenizer_digest or _file_digest(embedder.tokenizer)
    if embedder.kind == "open-clip":
        return OPEN_CLIP, embedder.tokenizer_digest or OPEN_CLIP
    raise UsageError(
        f"embedder.model '{embedder.model}' has no tokenizer.json, which counting tokens needs: "
        f"save it with a fast tokenizer, or choose another model"
    )


def _file_digest(path: str) -> str:
    return digest_bytes(Path(path).read_bytes()).hex()


def _find_tokenizer(name: str) -> str:
    """The `tokenizer.json` of a folder, a file or a hub id."""
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return str(path)
    if path.is_absolute() or path.suffix == ".json" or name.startswith("."):
        raise UsageError(
            f"chunk.tokenizer '{name}': there is no {path}: expected a folder with a "
            f"tokenizer.json, such a file, or a hub id"
        )
    return _download(name)


def _download(hub_id: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return hf_hub_download(hub_id, "tokenizer.json")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"chunk.tokenizer '{hub_id}': neither a folder on this machine nor a hub model whose "
            f"tokenizer.json can be had ({type(error).__name__}): check the name, or give a folder"
        ) from error
