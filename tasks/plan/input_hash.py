"""The input hash: what a build was asked to judge. `accept` waives a gate for exactly one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import polars as pl

from schemas.identity import HASH_BYTES, digest_json
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.store.items import read_items


def judging_spec(spec: SpaceSpec) -> dict[str, Any]:
    """The part of the spec by which an input is judged."""
    names = {"expectations", "audit", "dedupe", "cluster"}
    return {
        **spec.model_dump(mode="json", include=names),
        "max_shrink": {source.name: source.max_shrink for source in spec.sources},
    }


def input_hash(
    parts: Sequence[RecordsPart | ItemsPart],
    items: Sequence[ItemsPart],
    rejects: Sequence[RejectsRef],
    spec: SpaceSpec,
    fingerprint: str,
) -> str:
    """32 hex digits over items, rejects, embedder and judging spec, in no order of arrival.

    A state that was refused before it had items is named by its records' `parts` instead, and by
    those of the records that it keeps of the release.
    """
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    state = read_items(items, ["id", "content_hash", "row_hash"]).sort("id")
    digest.update("\n".join(state["id"]).encode())
    for name in ("content_hash", "row_hash"):
        digest.update(b"".join(state[name]))
    columns = ["source", "key", "id", "stage", "reason", "uri", "position"]
    frames = [
        pl.read_parquet(ref.path, columns=columns) for ref in rejects if ref.records or ref.items
    ]
    unread = [] if items else sorted(part.digest for part in parts)
    rejected = sorted(map(repr, pl.concat(frames).iter_rows())) if frames else []
    digest.update(digest_json([unread, rejected, judging_spec(spec), fingerprint]).encode())
    return digest.hexdigest()
