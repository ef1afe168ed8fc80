"""From the bytes of image files to what a record keeps of them, or why there is no record.

    bytes ── judge (decode, thumbnail, hash) ──> JudgedPicture | Unusable

What the three image readers share. Decoding releases the GIL, so a few threads judge a handful of
files at a time; who hands in the bytes bounds how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from schemas.arrow import HASH
from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.store.pictures import PictureError, picture_facts

DECODERS = min(4, os.cpu_count() or 1)
"""Threads that decode inside one part; parts run beside each other as well."""


@dataclass(frozen=True)
class JudgedPicture:
    """A usable image: the content hash, bytes of the file, upright width and height."""

    content_hash: bytes
    size: int
    width: int
    height: int
    thumbnail: bytes | None


@dataclass(frozen=True)
class Unusable:
    """Why an image is no record. Unlike the exception it keeps no frame and no bytes alive."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Candidate:
    """The bytes to judge and the name that the file goes by; or why they were not even read."""

    name: str
    data: bytes = b""
    problem: Unusable | None = None


def judge(candidate: Candidate, thumbnails: bool) -> JudgedPicture | Unusable:
    """Decode one candidate; never raises for what its bytes are."""
    if candidate.problem is not None:
        return candidate.problem
    data = candidate.data
    try:
        facts = picture_facts(data, thumbnails, candidate.name)
    except PictureError as error:
        return Unusable(error.reason, error.detail)
    digest = digest_bytes(data)
    return JudgedPicture(digest, len(data), facts.width, facts.height, facts.thumbnail)


def decoders() -> ThreadPoolExecutor:
    """The threads for one file's pictures; use as a context manager."""
    return ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")


def judge_all(
    pool: Executor, candidates: Iterable[Candidate], thumbnails: bool
) -> list[JudgedPicture | Unusable]:
    """Judge a handful of candidates at once, in order; all their bytes are in memory."""
    return list(pool.map(lambda candidate: judge(candidate, thumbnails), candidates))


def picture_columns(pictures: list[JudgedPicture]) -> dict[str, pa.Array]:
    """The columns of a `RawBatch` that describe the pictures, a row each."""
    return {
        "content_hash": pa.array([p.content_hash for p in pictures], HASH),
        "size": pa.array([p.size for p in pictures], pa.int64()),
        "width": pa.array([p.width for p in pictures], pa.int32()),
        "height": pa.array([p.height for p in pictures], pa.int32()),
        "thumbnail": pa.array([p.thumbnail for p in pictures], pa.binary()),
    }
