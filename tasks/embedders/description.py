"""What a model's folder says about the embedding space, read without loading the model.

    folder ─ describe (one module a kind) → Description ─ fingerprint

A description holds everything that decides a vector, and nothing that does not: no folder or file
name, no README, no engine, precision or device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UNBOUNDED = 2**31 - 1
"""The window of a model that takes text of any length (static embeddings)."""


@dataclass(frozen=True)
class Description:
    """One embedder as its folder and the spec describe it.

    `parts` is what the fingerprint digests, JSON-like: weights, tokenizer, modules and their
    configs, preprocessing. The other fields enter it too, but for `window`, `tokenizer` and
    `static`, which follow from them.
    """

    parts: dict[str, object]
    dimensions: int  # after truncation
    kinds: frozenset[str]  # what it can embed: text, image
    max_length: int | None = None  # tokens with special and prompt tokens; None: no text
    window: int | None = None  # content tokens that fit
    tokenizer: str | None = None  # path of its tokenizer.json
    tokenizer_digest: str | None = None
    prompt: str = ""
    query_prompt: str = ""
    truncate: int | None = None
    static: bool = False  # a vector for each token, looked up and averaged
    config: dict[str, object] = field(default_factory=dict)  # what the loader needs besides
