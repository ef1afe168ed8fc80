"""Near-duplicate records: the marks of every kind, as one file.

    records of a kind ─ signatures ─ candidates ─ compared with kept ones ─> near/<digest>.parquet

Texts are compared by their shingles, images by perceptual hash and a small grey picture. Kinds are
never compared with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import polars as pl

from schemas.identity import RULES_VERSION, digest_json
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from schemas.spec import DedupeSpec
from tasks.store.workdir import Store, excluded_rows

NEAR = "near"

UNSEEN = "vecmill.unseen"
"""The key in a marks file's metadata under which records stand that could not be compared."""

NEAR_VERSION = 2
"""Raised when the same records would be marked in another way."""

MARKS = {
    "source": pl.String,
    "key": pl.String,
    "kind": pl.String,
    "kept_source": pl.String,
    "kept_key": pl.String,
    "kept_id": pl.String,  # `source:key`, encoded as ids are
    "score": pl.Float32,
}
"""A row for each record that resembles another one, which is kept."""


@dataclass(frozen=True)
class RecordSet:
    """The records of one kind that are compared.

    `parts` come with the rows that were rejected; `kept` are items of published records.
    """

    parts: tuple[tuple[RecordsPart, tuple[int, ...]], ...]
    kept: tuple[ItemsPart, ...]
    storage_options: tuple[tuple[str, str], ...] = ()  # option → environment variable


class Near(NamedTuple):
    """The marked records of one kind, a frame of `MARKS` in any order.

    `unseen` counts the records that could not be compared: their picture is gone, or another one.
    """

    marks: pl.DataFrame
    unseen: int = 0


class FindNear(Protocol):
    """Finds the marked records of one kind."""

    def __call__(self, records: RecordSet, spec: DedupeSpec, store: Store) -> Near: ...


def _texts(records: RecordSet, spec: DedupeSpec, store: Store) -> Near:
    from tasks.dedupe.texts.near_text import near_texts

    return Near(near_texts(records, spec, store))


def _images(records: RecordSet, spec: DedupeSpec, store: Store) -> Near:
    from tasks.dedupe.pictures.near_images import near_images

    return near_images(records, spec, store)


FINDERS: dict[str, FindNear] = {"text": _texts, "image": _images}
"""Kind → what marks its records."""


def find_near(
    parts: Sequence[RecordsPart],
    excluded: Sequence[Sequence[RejectsRef]],
    kept: Sequence[ItemsPart],
    spec: DedupeSpec,
    store: Store,
    storage_options: tuple[tuple[str, str], ...] = (),
) -> str:
    """Mark near-duplicates among the records of `parts`, less those that `excluded` (for each part)
    takes out, and the published ones in `kept`; return the path of the marks, "" when that is off.

    `storage_options` are (option, environment variable) pairs, for pictures on object stores.
    """
    if spec.near is None:
        return ""
    left_out = [tuple(excluded_rows(p.digest, out)) for p, out in zip(parts, excluded, strict=True)]
    seen = sorted((p.digest, rows) for p, rows in zip(parts, left_out, strict=True))
    settings = [spec.near.model_dump(), spec.within, list(spec.keep)]
    named = [NEAR, RULES_VERSION, NEAR_VERSION, settings, seen, sorted(p.digest for p in kept)]
    digest = digest_json(named)
    if found := store.find(NEAR, digest):
        return str(found)
    frames, unseen = [pl.DataFrame(schema=MARKS)], 0
    for kind, find in FINDERS.items():
        records = RecordSet(
            tuple(each for each in zip(parts, left_out, strict=True) if each[0].kind == kind),
            tuple(part for part in kept if part.kind == kind),
            storage_options,
        )
        if records.parts or records.kept:
            found_here = find(records, spec, store)
            frames.append(found_here.marks.select(list(MARKS)))
            unseen += found_here.unseen
    marks = pl.concat(frames).sort("source", "key")
    with store.create(NEAR, digest) as path:
        marks.write_parquet(path, metadata={UNSEEN: str(unseen)})
    return str(store.path(NEAR, digest))


def unseen_pictures(near: str) -> int:
    """How many records could not be compared when the file `near` was made; "": none were to be."""
    return int(pl.read_parquet_metadata(near).get(UNSEEN, "0")) if near else 0
