"""The input hash: what a build was asked to judge. `accept` waives a gate for exactly one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.identity import HASH_BYTES, digest_json
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.store.hashes import hash_values
from tasks.store.items import ROWS_TOGETHER


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
    _digest_items(digest, items)
    columns = ["source", "key", "id", "stage", "reason", "uri", "position"]
    frames = [
        pl.read_parquet(ref.path, columns=columns) for ref in rejects if ref.records or ref.items
    ]
    unread = [] if items else sorted(part.digest for part in parts)
    rejected = sorted(map(repr, pl.concat(frames).iter_rows())) if frames else []
    digest.update(digest_json([unread, rejected, judging_spec(spec), fingerprint]).encode())
    return digest.hexdigest()


def _digest_items(digest: Any, items: Sequence[ItemsPart]) -> None:
    """All ids, then all content hashes, then all row hashes, each in the order of the ids."""
    paths = [part.path for part in items if part.items]
    ids = pa.concat_arrays([pa.array([], pa.large_string()), *(c for p in paths for c in _ids(p))])
    order = pc.sort_indices(ids)
    for start in range(0, len(order), ROWS_TOGETHER):
        some = ids.take(order.slice(start, ROWS_TOGETHER)).to_pylist()
        digest.update(("\n" if start else "").encode() + "\n".join(some).encode())
    del ids
    places = order.to_numpy()
    for name in ("content_hash", "row_hash"):
        hashes = [hash_values(pq.read_table(p, columns=[name]).column(0)) for p in paths]
        every = np.concatenate([np.empty(0, f"S{HASH_BYTES}"), *hashes])
        digest.update(every[places].tobytes())


def _ids(path: str) -> list[pa.Array]:
    return pq.read_table(path, columns=["id"]).column(0).cast(pa.large_string()).chunks
